"""What lists of names and folders of images mean, to the Python commands and to `makeSuperpixel`."""
import unicodedata

# Content of a list: the names it has, or what is said of it.
LISTS = {
    'LF': (b'a\nb/c\n', ['a', 'b/c']), 'CRLF': (b'a\r\nb/c\r\n', ['a', 'b/c']), 'CR': (b'a\rb/c', ['a', 'b/c']),
    'mixed ends': (b'a\n\rb\r\r\nc', ['a', 'b', 'c']), 'blank lines': (b'\n \t\na\n\n', ['a']),
    'mark of the byte order': (b'\xef\xbb\xbfa\nb', ['a', 'b']),
    'no-break space': (b'a\xc2\xa0\n\xc2\xa0b', ['a', 'b']),
    'zero-width space': (b'\xe2\x80\x8ba\nb', ['a', 'b']), 'wide space': ('a\u3000\n\u2003b'.encode(), ['a', 'b']),
    'inner spaces': ('a b\nc\u202fd\n'.encode(), ['a b', 'c\u202fd']), 'comment': (b'# mine\na', ['# mine', 'a']),
    './ and //': (b'./a\nb//c\n././d/./e', ['a', 'b/c', 'd/e']), 'dots': (b'v1.0\n.a\n', ['v1.0', '.a']),
    'other scripts': ('\u732b\ncaf\u00e9\n'.encode(), ['\u732b', 'caf\u00e9']),
    'empty': (b'', 'holds no names'), 'blank': (b' \n\xc2\xa0\n', 'holds no names'),
    'twice': (b'a\nb\na\n', 'line 3: a was already on line 1: remove one of them'),
    'twice with ./': (b'a\r\n./a', 'line 2: a was already on line 1: remove one of them'),
    'Latin-1': (b'a\nb\ncaf\xe9\n', 'line 3 is not UTF-8: save it as UTF-8'), 'UTF-16': ('a\n'.encode('utf-16'),
    'not a text'),
    'overlong': (b'a\xc0\xaf', 'line 1 is not UTF-8'), 'surrogate': (b'a\n\xed\xa0\x80', 'line 2 is not UTF-8'),
    'beyond Unicode': (b'\xf4\x90\x80\x80', 'line 1 is not UTF-8'), 'cut': (b'a\n\xe2\x80', 'line 2 is not UTF-8'),
    'NUL': (b'a\0b\n', 'not a text file'), 'absolute': (b'/etc/a', 'an absolute path'),
    'drive': (b'c:\\a', 'an absolute path'),
    'no drive': ('\u00e9:/a'.encode(), ['\u00e9:/a']), 'leaves': (b'a/../b', 'it leaves the folder'),
    'backslash': (b'a\\b', 'a backslash'), 'bell': (b'a\x07b', 'an unprintable character'),
    'C1': (b'a\xc2\x85b', 'an unprintable character'), 'line separator': ('a\u2028b'.encode(),
    'an unprintable character'),
    'folder': (b'a/', 'not a plain file name'), 'dot': (b'a/.', 'not a plain file name'),
    'option': (b'-rf', 'not a plain file name'),
    'long': (b'x' * 231, 'too long'), 'longest': (b'x' * 230, ['x' * 230]),
    'ending': (b'a.JPG', 'write names without .JPG'), 'tif': (b'b/a.tif', 'write names without .tif'),
    'xml': (b'a.xml', 'write names without .xml'),
}


def nfd(text):
    return unicodedata.normalize('NFD', text)


# Files of a folder, a name: the file it means, or that there are several.
IMAGES = {
    'jpg': (['a.jpg'], 'a', 'a.jpg'), 'upper case': (['a.JPG'], 'a', 'a.JPG'), 'jpeg': (['a.Jpeg'], 'a', 'a.Jpeg'),
    'png': (['a.png', 'a.txt'], 'a', 'a.png'), 'webp': (['a.webp'], 'a', 'a.webp'), 'bmp': (['a.BMP'], 'a', 'a.BMP'),
    'tif': (['a.tif'], 'a', 'a.tif'), 'tiff': (['a.TIFF'], 'a', 'a.TIFF'), 'none': (['a.gif', 'A.jpg'], 'a', 'a.jpg'),
    'folder': (['x/y/a.png', 'a.jpg'], 'x/y/a', 'x/y/a.png'), 'dots': (['v1.0.png', 'v1.jpg'], 'v1.0', 'v1.0.png'),
    'hidden': (['.a.png', 'a.png'], '.a', '.a.png'),
    'two endings': (['a.jpg', 'a.png'], 'a', None), 'two cases': (['a.jpg', 'a.JPG'], 'a', None),
    'decomposed on disk': ([nfd('\u00e9\ud55c.png')], '\u00e9\ud55c', nfd('\u00e9\ud55c.png')),
    'composed on disk': (['\u1ec7.png'], nfd('\u1ec7'), '\u1ec7.png'),
    'marks in another order': (['e\u0323\u0302.png'], 'e\u0302\u0323', 'e\u0323\u0302.png'),
    'folder in another form': ([nfd('\u00fc/\u00f6.jpg')], '\u00fc/\u00f6', nfd('\u00fc/\u00f6.jpg')),
    'two forms': (['\u00e9.png', nfd('\u00e9.jpg')], '\u00e9', None),
}
