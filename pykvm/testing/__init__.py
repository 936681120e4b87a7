"""What a user's own tests import: the pytest plugin and driver-side helpers.

The fixtures `vm` and `guest` come with the plugin and need no import. docs/testing.md
shows all of it in use.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pykvm.probe import Probe, probe
    from pykvm.testing.driver import Driver
    from pykvm.testing.runner import GuestRunner
else:
    from pykvm._lazy import importer

    __getattr__ = importer(
        __name__,
        {
            "Driver": "pykvm.testing.driver:Driver",
            "GuestRunner": "pykvm.testing.runner:GuestRunner",
            "Probe": "pykvm.probe:Probe",
            "probe": "pykvm.probe:probe",
        },
    )

__all__ = ["Driver", "GuestRunner", "Probe", "probe"]
