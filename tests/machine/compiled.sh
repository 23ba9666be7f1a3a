# Writes an installation, byte-compiled by the Python of a Debian tree but at the speed of the host, to stdout as a tar;
# and with it the byte code of the tests that COMMAND, of pytest, will run.
# usage: compiled.sh TREE INSTALLATION [COMMAND...]    in a mount namespace of its own, in the checkout; all is only read
set -eu
tree=$1 installation=$2
shift 2
mount -t tmpfs -o mode=755 compiled /mnt
mkdir /mnt/upper /mnt/work /mnt/root
mount -t overlay -o "lowerdir=$tree,upperdir=/mnt/upper,workdir=/mnt/work" compiled /mnt/root
cp -a --no-preserve=ownership "$installation/." /mnt/root/
mount --rbind /dev /mnt/root/dev
make --silent compile ROOT=/mnt/root PYTHON=/usr/bin/python3 >&2
if [ $# -gt 0 ]; then
    mkdir /mnt/root/src
    mount --bind -o ro . /mnt/root/src
    mount --rbind /proc /mnt/root/proc
    env --unset=PYTHONDONTWRITEBYTECODE PYOCI_MACHINE=vm \
        chroot /mnt/root sh -c 'cd /src && "$@" --collect-only' sh "$@" >/dev/null ||
        echo "the tests cannot be compiled; the machine will say why" >&2
    umount /mnt/root/src
fi
exec tar --create --directory /mnt/upper .
