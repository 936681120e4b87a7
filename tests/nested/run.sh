# What runs on the host inside QEMU: the tests that /mnt/job.json names.
export PATH=/bin:/usr/bin:/sbin:/usr/sbin HOME=/tmp PYTHONPATH=/pykvm/site:/pykvm/repo/tests/nested
export PYKVM_BACKEND=kvm PYTHONDONTWRITEBYTECODE=1 TERM=dumb
/bin/busybox mkdir -p /dev/shm /dev/pts
/bin/busybox mount -t tmpfs tmpfs /tmp
/bin/busybox mount -t tmpfs tmpfs /dev/shm
/bin/busybox mount -t devpts devpts /dev/pts
/bin/busybox ip link set lo up
cd /pykvm/repo
python3 -m pytest -p inside -q -p no:cacheprovider @/mnt/arguments >/mnt/output.txt 2>&1
echo $? >/mnt/status
/bin/busybox poweroff -f
