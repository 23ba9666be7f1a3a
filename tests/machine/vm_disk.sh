# Makes what a VM boots from of a Debian tree: kernel, initrd and disk, and the key to its door.
# usage: vm_disk.sh TREE DIRECTORY    in a mount namespace of its own; the tree is only read
set -eu
tree=$1 made=$2
masked=$(dirname "$0")/masked # units that a test machine does without

mount -t tmpfs -o mode=755 disk /mnt
mkdir /mnt/upper /mnt/work /mnt/root /mnt/initrd
root=/mnt/root initrd=/mnt/initrd
mount -t overlay -o "lowerdir=$tree,upperdir=/mnt/upper,workdir=/mnt/work" disk "$root"
cp -L /etc/resolv.conf "$root/etc/resolv.conf"

# The tree's own apt knows where the tree comes from, whatever the host is. The kernel is unpacked, not installed: it
# would bring what makes an initrd for hardware, and make one.
mount -t proc proc "$root/proc"
mount --rbind /dev "$root/dev"
chroot "$root" sh -eu >"$made/apt.log" 2>&1 <<'END'
export DEBIAN_FRONTEND=noninteractive
apt-get -qq update
apt-get -qq install --yes --no-install-recommends apparmor dropbear-bin
cd /tmp
apt-get -qq download "$(apt-cache depends linux-image-amd64 | sed -n 's/ *Depends: //p')"
dpkg --extract linux-image-*.deb /
rm linux-image-*.deb
apt-get clean
rm -rf /var/lib/apt/lists/*
depmod "$(ls /usr/lib/modules)"
mkdir -p -m 700 /etc/dropbear ~root/.ssh
dropbearkey -t ed25519 -f /etc/dropbear/key
END
umount -R "$root/proc" "$root/dev"
version=$(ls "$root/usr/lib/modules")
mv "$root/boot/vmlinuz-$version" "$made/kernel"

# The door: an SSH server behind the only network device, both in a network namespace of their own, so that the machine
# has nothing but its loopback device.
ssh-keygen -q -t ed25519 -N '' -C '' -f "$made/key"
chroot "$root" sh -c 'cat >~root/.ssh/authorized_keys' <"$made/key.pub"
cat >"$root/etc/systemd/system/door.service" <<'END'
[Service]
ExecStartPre=ip netns add door
ExecStartPre=ip link set eth0 netns door
ExecStartPre=ip -n door link set eth0 up
ExecStartPre=ip -n door address add 10.0.2.15/24 dev eth0
ExecStart=nsenter --net=/run/netns/door dropbear -F -E -s -m -r /etc/dropbear/key -p 22
END
mkdir -p "$root/etc/systemd/system/multi-user.target.wants"
ln -s ../door.service "$root/etc/systemd/system/multi-user.target.wants/door.service"
while read -r unit; do
    ln -sf /dev/null "$root/etc/systemd/system/$unit"
done <"$masked"
printf '%s\n' virtio_net 9p 9pnet_virtio loop veth dummy bridge tun fuse nf_tables >"$root/etc/modules-load.d/vm.conf"
tr -d - </proc/sys/kernel/random/uuid >"$root/etc/machine-id" # an empty one would make every boot the first
echo vm >"$root/etc/hostname"

# The disk is only read, by any number of machines at a time; what a machine writes is in its memory, and in snapshots.
# Nothing is left to the device manager: the initrd has the four modules that lead to the disk, in order.
mkdir "$initrd/bin" "$initrd/dev" "$initrd/disk" "$initrd/machine"
cp "$root/usr/bin/busybox" "$initrd/bin"
for applet in sh mount mkdir insmod switch_root; do ln -s busybox "$initrd/bin/$applet"; done
for module in virtio_pci virtio_blk ext4 overlay; do
    chroot "$root" modprobe --set-version "$version" --show-depends "$module"
done | awk '$1 == "insmod" && !seen[$2]++ { print $2 }' | while read -r module; do
    name=$(basename "$module" .xz)
    xz --decompress --stdout "$root$module" >"$initrd/$name"
    echo "insmod /$name" >>"$initrd/insmods"
done
cat - "$initrd/insmods" >"$initrd/init" <<'END'
#!/bin/sh
set -e
mount -t devtmpfs dev /dev
END
cat >>"$initrd/init" <<'END'
mount -t ext4 -o ro,noload /dev/vda /disk
mount -t tmpfs -o mode=755,size=75% machine /machine
mkdir /machine/upper /machine/work /machine/root /machine/containers
mount -t overlay -o lowerdir=/disk,upperdir=/machine/upper,workdir=/machine/work machine /machine/root
mkdir -p /machine/root/var/lib/containers
mount --bind /machine/containers /machine/root/var/lib/containers
mount --move /dev /machine/root/dev
exec switch_root /machine/root /lib/systemd/systemd
END
chmod +x "$initrd/init"
(cd "$initrd" && find . | cpio --quiet -o -H newc) >"$made/initrd"
mke2fs -q -t ext4 -O ^has_journal -m 0 -d "$root" "$made/disk" 4G
