#!/bin/busybox sh
# The first process of a host inside QEMU: its modules, its disks, and then the tests.
/bin/busybox mount -t proc proc /proc
/bin/busybox mount -t sysfs sys /sys
/bin/busybox mount -t devtmpfs dev /dev
npt=1
/bin/busybox grep -q pykvm.npt=0 /proc/cmdline && npt=0
while read -r module; do
    case $module in
        */kvm-amd.ko) /bin/busybox insmod "$module" npt=$npt ;;
        *) /bin/busybox insmod "$module" ;;
    esac
done </order
/bin/busybox mount -t ext4 /dev/vda /newroot
/bin/busybox mount -t ext4 /dev/vdb /newroot/pykvm
/bin/busybox mount -t 9p -o trans=virtio,version=9p2000.L,msize=512000 share /newroot/mnt
for each in dev proc sys; do /bin/busybox mount --move /$each /newroot/$each; done
exec /bin/busybox switch_root /newroot /bin/busybox sh /pykvm/run.sh
