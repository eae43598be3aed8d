"""A table of odd image files: EXIF in every place, rare kinds of pixels, much metadata, damage."""
import io
import struct
import zlib

import numpy as np
from PIL import Image, ImageCms, PngImagePlugin

WIDTH, HEIGHT = 24, 40
EXIF, XMP = b'Exif\0\0', b'http://ns.adobe.com/xap/1.0/\0<x:xmpmeta xmlns:x="adobe:ns:meta/"/>'


def pixels(height=HEIGHT, width=WIDTH, channels=3):
    """A picture in which every quarter turn and every mirroring shows."""
    rows, columns = np.mgrid[:height, :width]
    planes = [rows * 200 // height + 20, columns * 200 // width + 20, (rows * columns) % 97 + 80, 0 * rows + 255]
    return np.stack(planes[:channels], axis=2).astype(np.uint8)


def save(kind, image=None, **options):
    """Content of a file of Pillow's format `kind`."""
    data = io.BytesIO()
    (Image.fromarray(pixels()) if image is None else image).save(data, kind, **options)
    return data.getvalue()


def tiff(orientation, order='<', long=False, count=1, before=(), magic=42):
    """EXIF data: entries `before` that are (tag, type, count, value), then an orientation."""
    entries = [*before, (0x112, 4 if long else 3, count, orientation)]
    head = (b'II' if order == '<' else b'MM') + struct.pack(order + 'HI', magic, 8)
    body = struct.pack(order + 'H', len(entries))
    for tag, kind, number, value in entries:
        body += struct.pack(order + 'HHI', tag, kind, number)
        body += struct.pack(order + 'HH', value, 0) if kind == 3 else struct.pack(order + 'I', value)
    return head + body + bytes(4)


def app(data, number=1):
    return bytes([0xff, 0xe0 + number]) + struct.pack('>H', len(data) + 2) + data


def in_jpeg(*segments, jpeg=None):
    """A JPEG with these segments right behind its beginning."""
    jpeg = save('JPEG', quality=95) if jpeg is None else jpeg
    return jpeg[:2] + b''.join(segments) + jpeg[2:]


def chunk(kind, data):
    return struct.pack('>I', len(data)) + kind + data + struct.pack('>I', zlib.crc32(kind + data))


def in_png(kind, data, place='before', png=None):
    """A PNG with one more chunk before or behind its pixels."""
    png = save('PNG') if png is None else png
    at = png.index(b'IDAT') - 4 if place == 'before' else len(png) - 12
    return png[:at] + chunk(kind, data) + png[at:]


def in_webp(exif):
    """A WebP file with EXIF data."""
    return save('WEBP', exif=exif, lossless=True)


def in_tiff(orientation):
    return save('TIFF', tiffinfo={0x112: orientation})


def _text(**kwargs):
    text = PngImagePlugin.PngInfo()
    text.add_text('Raw profile', 'x' * 3_000_000, **kwargs)
    return text


def _png_header(width, height, depth=8, colour=0):
    return (b'\x89PNG\r\n\x1a\n' + chunk(b'IHDR', struct.pack('>IIBBBBB', width, height, depth, colour, 0, 0, 0)))


def grey_png(height, width):
    rows = zlib.compress(bytes((width + 1) * height), 9)
    return _png_header(width, height) + chunk(b'IDAT', rows) + chunk(b'IEND', b'')


def table():
    """Content of every file by what it is."""
    image, grey = Image.fromarray(pixels()), Image.fromarray(pixels()[..., 0])
    plain, exif = save('JPEG', quality=95), [EXIF + tiff(i) for i in range(10)]
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile('sRGB')).tobytes()
    files = {f'jpeg orientation {i}': in_jpeg(app(exif[i])) for i in range(10)}
    files.update({
        'jpeg plain': plain,
        'jpeg big-endian': in_jpeg(app(EXIF + tiff(6, '>'))),
        'jpeg little-endian long': in_jpeg(app(EXIF + tiff(6, long=True))),
        'jpeg big-endian long': in_jpeg(app(EXIF + tiff(6, '>', long=True))),
        'jpeg exif behind xmp': in_jpeg(app(XMP), app(exif[6])),
        'jpeg exif before xmp': in_jpeg(app(exif[6]), app(XMP)),
        'jpeg exif behind a profile': in_jpeg(app(b'ICC_PROFILE\0\1\1' + profile, 2), app(exif[6])),
        'jpeg two exif segments': in_jpeg(app(exif[8]), app(exif[1])),
        'jpeg exif in app0': in_jpeg(app(exif[6], 0)),
        'jpeg exif cut short': in_jpeg(app(exif[6][:20])),
        'jpeg exif of no tags': in_jpeg(app(EXIF + b'II*\0\x08\0\0\0\0\0\0\0\0\0')),
        'jpeg exif of another magic': in_jpeg(app(EXIF + tiff(6, magic=43))),
        'jpeg exif that points beyond': in_jpeg(app(EXIF + b'II*\0\xff\xff\xff\x7f')),
        'jpeg exif of many tags': in_jpeg(app(EXIF + tiff(6, before=[(256 + i, 3, 1, i) for i in range(10)]))),
        'jpeg exif orientation of count 2': in_jpeg(app(EXIF + tiff(6, count=2))),
        'jpeg comment before exif': in_jpeg(b'\xff\xfe\0\x06word', app(exif[6])),
        'jpeg fill bytes': plain[:2] + b'\xff\xff' + plain[2:],
        'jpeg exif behind the pixels': plain[:-2] + app(exif[6]) + plain[-2:],
        'jpeg with something behind its end': plain + bytes(3000),
        'jpeg much exif': in_jpeg(app(exif[6] + bytes(60000)), app(bytes(60000), 13), app(bytes(60000), 13)),
        'jpeg grey': save('JPEG', grey),
        'jpeg cmyk': save('JPEG', image.convert('CMYK')),
        'jpeg cmyk turned': in_jpeg(app(exif[6]), jpeg=save('JPEG', image.convert('CMYK'))),
        'jpeg progressive': save('JPEG', progressive=True),
        'jpeg progressive turned': in_jpeg(app(exif[5]), jpeg=save('JPEG', progressive=True)),
        'jpeg 4:4:4': save('JPEG', subsampling=0),
        'jpeg mpo': save('MPO', save_all=True, append_images=[image]),
        'jpeg square turned': in_jpeg(app(exif[6]), jpeg=save('JPEG', Image.fromarray(pixels(32, 32)))),
        'jpeg one pixel': save('JPEG', Image.fromarray(pixels(1, 1))),
        'jpeg nearly square turned': in_jpeg(app(exif[6]), jpeg=save('JPEG', Image.fromarray(pixels(33, 32)))),
        'png plain': save('PNG'),
        'png exif': in_png(b'eXIf', tiff(6)),
        'png exif behind the pixels': in_png(b'eXIf', tiff(6), 'behind'),
        'png exif big-endian long': in_png(b'eXIf', tiff(8, '>', long=True)),
        'png exif with a prefix': in_png(b'eXIf', EXIF + tiff(6)),
        'png exif of orientation 1': in_png(b'eXIf', tiff(1)),
        'png much text': save('PNG', pnginfo=_text(zip=True)),
        'png much text as it is': save('PNG', pnginfo=_text()),
        'png much profile': save('PNG', icc_profile=bytes(3_000_000)),
        'png profile': save('PNG', icc_profile=profile),
        'png gamma': in_png(b'gAMA', struct.pack('>I', 100000)),
        'png 16 bits': save('PNG', Image.fromarray(pixels()[..., 0].astype(np.uint16) * 256)),
        'png grey and alpha': save('PNG', Image.fromarray(pixels()[..., 0]).convert('LA')),
        'png alpha': save('PNG', Image.fromarray(pixels(channels=4))),
        'png palette': save('PNG', image.convert('P')),
        'png palette, transparent': save('PNG', image.convert('P'), transparency=3),
        'png one bit': save('PNG', grey.convert('1')),
        'png four bits': save('PNG', Image.fromarray(pixels()[..., 0] // 17, 'P'), bits=4),
        'png animated': save('PNG', save_all=True, append_images=[image.transpose(Image.FLIP_LEFT_RIGHT)]),
        'png unknown chunk': in_png(b'abCd', b'something'),
        'png with something behind its end': save('PNG') + bytes(3000),
        'png long': grey_png(1, 60000),
        'ppm': save('PPM'),
        'bmp': save('BMP'),
        'bmp palette': save('BMP', image.convert('P')),
        'bmp upside down': _upside_down(save('BMP')),
        'tiff': save('TIFF'),
        'tiff turned': in_tiff(6),
        'tiff mirrored': in_tiff(2),
        'tiff packed': save('TIFF', compression='tiff_lzw'),
        'tiff 16 bits': save('TIFF', Image.fromarray(pixels()[..., 0].astype(np.uint16) * 256)),
        'webp': save('WEBP', lossless=True),
        'webp exif': in_webp(tiff(6)),
        'webp exif with a prefix': in_webp(exif[6]),
        'webp alpha': save('WEBP', Image.fromarray(pixels(channels=4)), lossless=True),
    })
    return files


def _upside_down(bmp):
    """The rows of a BMP file from the top, as a negative height says."""
    height = struct.unpack_from('<i', bmp, 22)[0]
    return bmp[:22] + struct.pack('<i', -height) + bmp[26:]


def refused():
    """Files that are no images, whole ones in any case, to both programs."""
    plain, png = save('JPEG'), save('PNG')
    return {
        'empty': b'', 'one byte': b'\xff', 'text': b'<svg xmlns="http://www.w3.org/2000/svg"/>',
        'gif': save('GIF'), 'ico': save('ICO'), 'tga': save('TGA'),
        'jpeg cut short': plain[:-40], 'png cut short': png[:-40],
        'jpeg header alone': plain[:plain.index(b'\xff\xda')], 'png header alone': png[:33],
        'png of no pixels': _png_header(0, 10) + chunk(b'IDAT', zlib.compress(b'')) + chunk(b'IEND', b''),
        'png of a false size': _png_header(60000, 60000) + png[33:],
    }
