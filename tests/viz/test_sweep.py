"""A sweep as text, CSV and picture."""
import xml.etree.ElementTree

from icd.viz import sweep

ROWS = [dict(threshold=t, mIoU=m, precision=p, coverage=c, agreement=a) for t, m, p, c, a in (
    (.1, 50., 60., 90., 70.), (.2, 55., 70., 80., 65.), (.3, None, None, 0., 10.), (None, 52., 61., 95., 66.))]


def result(*names, kinds=('raw',)):
    return dict(images=3, truth='truth', against='seeds/crf', curves=[
        dict(maps=name, folder=name, seeds=kind, rows=ROWS, best=ROWS[1], chosen=ROWS[0])
        for name in names for kind in kinds])


def test_the_text_says_what_is_best_and_what_can_be_chosen():
    text = sweep.as_text(result('CAM', 'a longer name'))
    assert 'CAM: best by truth at 0.2, mIoU 55.00\n' in text
    assert 'CAM: chosen without truth: 0.1 agrees most with seeds/crf (70.00), mIoU 50.00 there\n' in text
    rows = [line.split() for line in text.splitlines() if line.startswith('CAM ')]
    assert rows[1:3] == [['CAM', '0.2', '55.00', '70.00', '80.00', '65.00'], ['CAM', '0.3', '-', '-', '0.00', '10.00']]
    assert rows[3][1:3] == ['by', 'sign'] and text.endswith('images: 3')


def test_unknown_cells_of_the_csv_are_empty():
    lines = sweep.as_csv(result('CAM, ours')).splitlines()
    assert lines[0] == 'maps,seeds,threshold,mIoU,precision,coverage,agreement'
    assert lines[3:] == ['"CAM, ours",raw,0.3,,,0.0,10.0', '"CAM, ours",raw,,52.0,61.0,95.0,66.0']


def test_every_curve_is_in_the_picture(tmp_path):
    kinds = 'raw', 'crf'
    drawn = result('CAM', '_$x^$', kinds=kinds)
    sweep.draw(drawn, str(tmp_path / 'a.svg'))
    text = (tmp_path / 'a.svg').read_text()
    xml.etree.ElementTree.fromstring(text)
    for kind in kinds:
        for name in 'CAM', '_$x^$':
            label = ' ' * (name != 'CAM') + f'{name}, {kind}'
            assert text.count(f'<!-- {label} -->') == 3 and text.count(f'<!-- {label}, by sign -->') == 2
