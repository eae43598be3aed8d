#!/bin/sh
# The steps of Dockerfile.cpu in two bare Debian systems below FOLDER, for machines without Docker:
#     sudo docker/clean_root.sh FOLDER [MIRROR]
# It takes them from the Dockerfile, so that both stay the same; Python is Debian's, in a virtual environment. At the end
# the programs run as a user without rights: all in all four minutes and 2 GB. Needs debootstrap.
set -eu
cd "$(dirname "$0")/.."
folder=$1 mirror=${2:-http://deb.debian.org/debian}
[ ! -e "$folder" ] || { echo "$folder: is there already: name another folder" >&2; exit 2; }
command -v debootstrap > /dev/null || { echo "debootstrap is not installed: apt-get install debootstrap" >&2; exit 2; }
mkdir -p "$folder"

# The commands of the RUN lines of a stage (1: build, 2: the image), a line each.
steps() {
    sed -e ':join' -e '/\\$/{N;s/\\\n *//;b join' -e '}' docker/Dockerfile.cpu |
        awk -v wanted="$1" '/^FROM/ {stage++} /^RUN/ && stage == wanted {sub(/^RUN( --mount=[^ ]*)? /, ""); print}'
}

enter() {       # ROOT COMMAND
    chroot "$1" /usr/bin/env -i PIP_CERT=/etc/ssl/certs/ca-certificates.crt HOME=/root DEBIAN_FRONTEND=noninteractive \
        PATH=/opt/python/bin:/usr/local/bin:/usr/bin:/usr/sbin:/bin:/sbin sh -euc "cd /source 2> /dev/null || cd /; $2"
}

debootstrap --variant=minbase --include=ca-certificates,python3,python3-venv bookworm "$folder/image" "$mirror"
cp -L /etc/resolv.conf "$folder/image/etc/"
cp -L /etc/ssl/certs/ca-certificates.crt "$folder/image/etc/ssl/certs/"     # this machine's, with those of a proxy
cp -a "$folder/image" "$folder/build"
mkdir "$folder/build/source"
git archive HEAD | tar x -C "$folder/build/source"
for root in build image; do
    enter "$folder/$root" 'python3 -m venv /opt/python'
done
enter "$folder/build" 'apt-get update && apt-get install -y --no-install-recommends python3-dev'
steps 1 | while read -r step; do
    echo "build: $step"
    enter "$folder/build" "$step" < /dev/null
done
cp "$folder/build/programs/bin/makeSuperpixel" "$folder/image/usr/local/bin/"
cp -a "$folder/build/wheels" "$folder/image/"
steps 2 | while read -r step; do
    echo "image: $step"
    enter "$folder/image" "$step" < /dev/null
done
rm -r "$folder/image/wheels"
mount -t proc proc "$folder/image/proc" && trap 'umount "$folder/image/proc"' EXIT
chroot --userspec=icd:icd "$folder/image" /usr/bin/env -i HOME=/home/icd \
    PATH=/opt/python/bin:/usr/local/bin:/usr/bin:/bin sh -euc 'cd; makeSuperpixel --help > /dev/null; icd-run --help > /dev/null; icd-doctor'
