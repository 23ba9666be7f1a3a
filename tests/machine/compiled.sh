# Writes an installation, byte-compiled by the Python of a Debian tree but at the speed of the host, to stdout as a tar.
# usage: compiled.sh TREE INSTALLATION    in a mount namespace of its own, in the checkout; both are only read
set -eu
mount -t tmpfs -o mode=755 compiled /mnt
mkdir /mnt/upper /mnt/work /mnt/root
mount -t overlay -o "lowerdir=$1,upperdir=/mnt/upper,workdir=/mnt/work" compiled /mnt/root
cp -a --no-preserve=ownership "$2/." /mnt/root/
mount --rbind /dev /mnt/root/dev
make --silent compile ROOT=/mnt/root PYTHON=/usr/bin/python3 >&2
exec tar --create --directory /mnt/upper .
