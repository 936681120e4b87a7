"""ACPI tables: what a kernel that is started without firmware learns of its machine from.

`tables` makes them, `aml` is the byte code that one of them consists of.
"""
