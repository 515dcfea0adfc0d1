#!/bin/sh
# Makes the base that deploy/Dockerfile names where no registry can be reached: Debian by debootstrap, and this
# machine's Python where Docker's has its own. `sh tests/image/base.sh PYTHON STORE NAME`, as root.
set -eu
python=$1 store=$2 name=$3
root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
. /etc/os-release
# What Python's own libraries are linked to; a package's name may end in t64 in a newer Debian.
debootstrap --variant=minbase \
    --include=ca-certificates,libssl3,libffi8,libsqlite3-0,libbz2-1.0,liblzma5,libreadline8,zlib1g,libexpat1,libuuid1 \
    "$VERSION_CODENAME" "$root" >&2
prefix=$("$python" -c 'import sys; print(sys.base_prefix)')
version=$("$python" -c 'import sys; print("python%d.%d" % sys.version_info[:2])')
mkdir -p "$root/usr/local/bin" "$root/usr/local/lib"
cp -a "$prefix/lib/$version" "$root/usr/local/lib/"
rm -rf "$root/usr/local/lib/$version/test" "$root/usr/local/lib/$version/site-packages"
mkdir "$root/usr/local/lib/$version/site-packages"
find "$prefix/lib" -maxdepth 1 -name 'libpython3*' -exec cp -a {} "$root/usr/local/lib/" \;
cp "$prefix/bin/$version" "$root/usr/local/bin/$version"
ln -s "$version" "$root/usr/local/bin/python3"
ln -s "$version" "$root/usr/local/bin/python"
# How pip finds its index here, and whom it trusts.
for each in /etc/pip.conf /etc/ssl/certs/ca-certificates.crt; do
    if [ -e "$each" ]; then cp -L "$each" "$root$each"; fi
done
chroot "$root" ldconfig
chroot "$root" /usr/local/bin/python -m ensurepip --upgrade >&2
box=$(buildah --root "$store" from scratch)
buildah --root "$store" add --quiet "$box" "$root" / >&2
buildah --root "$store" config --env PATH=/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin --cmd python3 "$box"
buildah --root "$store" commit --quiet --rm "$box" "$name" >&2
