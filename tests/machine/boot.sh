# Runs as the first process of fresh namespaces, and becomes their systemd.
# usage: boot.sh TREE DIRECTORY [SOURCE:TARGET...]    DIRECTORY is empty and stays so outside
set -eu
tree=$1 directory=$2
masked=$(dirname "$0")/masked # units that a test machine does without
shift 2

# While unshare(1) sits in what is now our root cgroup, enabling a controller there is EBUSY (the kernel's
# "no internal processes" rule); the starter moves it away, then says so. A starter that died says nothing.
echo ready
read -r _
exec </dev/null

# What the machine writes lives in this tmpfs and ends with the mount namespace: killing it is cleaning up.
mount -t tmpfs -o mode=755,size=75% machine "$directory"
mkdir "$directory/upper" "$directory/work" "$directory/root" "$directory/containers"
root=$directory/root
mount -t overlay -o "lowerdir=$tree,upperdir=$directory/upper,workdir=$directory/work" machine "$root"

mount -t proc -o nosuid,nodev,noexec proc "$root/proc"
mount -t sysfs -o nosuid,nodev,noexec sysfs "$root/sys"
mount -t cgroup2 -o nosuid,nodev,noexec cgroup2 "$root/sys/fs/cgroup"
mount -t bpf -o nosuid,nodev,noexec bpf "$root/sys/fs/bpf" 2>/dev/null || true
mount -t tmpfs -o mode=755,nosuid,nodev tmpfs "$root/run"
mount -t tmpfs -o mode=1777,nosuid,nodev tmpfs "$root/tmp"
mount -t tmpfs -o mode=755,nosuid tmpfs "$root/dev"

# bound, not made: in some sandboxes a device made by mknod may not be opened
for device in null zero full random urandom tty fuse net/tun; do
    [ -e "/dev/$device" ] || continue
    mkdir -p "$(dirname "$root/dev/$device")"
    : >"$root/dev/$device"
    mount --bind "/dev/$device" "$root/dev/$device"
done
mkdir "$root/dev/pts" "$root/dev/shm" "$root/dev/mqueue"
mount -t devpts -o newinstance,ptmxmode=0666,mode=620,gid=5 devpts "$root/dev/pts"
ln -s pts/ptmx "$root/dev/ptmx"
ln -s /proc/self/fd "$root/dev/fd"
ln -s /proc/self/fd/0 "$root/dev/stdin"
ln -s /proc/self/fd/1 "$root/dev/stdout"
ln -s /proc/self/fd/2 "$root/dev/stderr"

# Overlay refuses another overlay as its upper layer, so podman's storage stands on the tmpfs itself.
mkdir -p "$root/var/lib/containers"
mount --bind "$directory/containers" "$root/var/lib/containers"

for bind in "$@"; do
    mkdir -p "$root${bind#*:}"
    mount --rbind "${bind%%:*}" "$root${bind#*:}"
done

# An empty machine id would make this a first boot, which presets every unit.
tr -d - </proc/sys/kernel/random/uuid >"$root/etc/machine-id"
mkdir -p "$root/run/systemd/system"
while read -r unit; do
    ln -s /dev/null "$root/run/systemd/system/$unit"
done <"$masked"

mkdir -p "$root/mnt/outside"
cd "$root"
pivot_root . mnt/outside
umount -l /mnt/outside
mount --make-rshared /
exec env -i container=pyoci-test PATH=/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8 \
    /lib/systemd/systemd --log-target=console --log-color=no --show-status=no
