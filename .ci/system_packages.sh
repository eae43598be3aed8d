#!/bin/sh
# Install the system packages that the C++ superpixel program needs, if they are missing and we may.
set -eu
missing=''
need() {
    case " $missing " in *" $1 "*) ;; *) missing="$missing $1" ;; esac
}
command -v g++ >/dev/null || need g++
if ! pkg-config --exists opencv4 2>/dev/null; then
    found=''
    for folder in ${OPENCV_INCLUDE:-} /usr/include/opencv4 /usr/local/include/opencv4 /usr/include /usr/local/include; do
        [ ! -f "$folder/opencv2/imgcodecs.hpp" ] || found=yes
    done
    [ -n "$found" ] || { need libopencv-imgcodecs-dev; need libopencv-imgproc-dev; }
fi
# opencv-python's own libraries, which a machine without a desktop lacks.
ldconfig -p 2>/dev/null | grep -q 'libGL\.so\.1' || need libgl1
ldconfig -p 2>/dev/null | grep -q 'libgthread-2\.0\.so\.0' || need libglib2.0-0
[ -n "$missing" ] || exit 0
if command -v apt-get >/dev/null && [ "$(id -u)" = 0 ]; then
    echo "installing$missing"
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing >/dev/null
else
    echo "please run: sudo apt-get install$missing" >&2
    exit 2
fi
