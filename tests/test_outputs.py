"""What decides that an output is made again: content and settings, whatever the dates are."""
import contextlib
import fcntl
import os
import shutil

import pytest

from icd import files
from icd.errors import Problems, UserError
from icd.outputs import Input, Outputs, Value
from icd.shards import Shard
from tests.helpers.small_data import list_files

NAMES = 'a', 'b', 'sub/c'
PAST, FUTURE = 946684800, 4102444800            # 2000 and 2100


def run(root, settings=None, classes='1', shard=None, names=NAMES, interrupt=None):
    """A stage that copies files; the names it made."""
    out = os.path.join(root, 'out')
    outputs, wanted = Outputs(out, 'copies', settings or {'k': 1}, shard), {}
    for name in names:
        inputs = [Input(os.path.join(root, 'in', name)), Value(classes if name == 'a' else '')]
        if not outputs.is_current(name, [os.path.join(out, name)], inputs):
            wanted[name] = inputs
    with outputs.writing(wanted, files.sub_folders(names)):
        for name, inputs in wanted.items():
            identities = [one.identity() for one in inputs]
            with open(inputs[0].path, 'rb') as file:
                files.save_bytes(os.path.join(out, name), file.read())
            if interrupt == name:
                raise KeyboardInterrupt
            outputs.record(name, identities)
    return set(wanted)


@pytest.fixture
def root(tmp_path):
    for i, name in enumerate(NAMES):
        files.save_bytes(str(tmp_path / 'in' / name), b'content %d' % i)
        os.utime(str(tmp_path / 'in' / name), (PAST, PAST))
    assert run(str(tmp_path)) == set(NAMES)
    return str(tmp_path)


def write(data, date=None, date_of=None):
    """Replace the file; with the date given, or that of the file before."""
    def replace(path):
        before = os.stat(path)
        files.save_bytes(path, data)
        if date_of:
            os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
        elif date:
            os.utime(path, (date, date))
    return replace


def in_place(data):
    def replace(path):
        with open(path, 'r+b') as file:
            file.write(data)
    return replace


def link(kind, data):
    """A link to a file of an older date, in a store."""
    def replace(path):
        files.save_bytes(path + '.store', data)
        os.utime(path + '.store', (PAST - 99, PAST - 99))
        os.remove(path)
        kind(path + '.store', path)
    return replace


SAME, OTHER, LONGER = b'content 0', b'CONTENT 0', b'another content'
WAYS = {
    'nothing': (lambda path: None, set()),
    'touched': (lambda path: os.utime(path), set()),
    'touched, older': (lambda path: os.utime(path, (PAST - 9, PAST - 9)), set()),
    'touched, of the future': (lambda path: os.utime(path, (FUTURE, FUTURE)), set()),
    'written again': (write(SAME), set()),
    'written again, older': (write(SAME, PAST - 9), set()),
    'written again, of the future': (write(SAME, FUTURE), set()),
    'permissions changed': (lambda path: os.chmod(path, 0o600), set()),
    'link to the same': (link(os.symlink, SAME), set()),
    'hard link to the same': (link(os.link, SAME), set()),
    'other content': (write(OTHER), {'a'}),
    'other content, older': (write(OTHER, PAST - 9), {'a'}),
    'other content, of the future': (write(OTHER, FUTURE), {'a'}),
    'other content, of the same date': (write(OTHER, date_of=True), {'a'}),
    'other content in place': (in_place(OTHER), {'a'}),
    'longer, older': (write(LONGER, PAST - 9), {'a'}),
    'longer, of the same date': (write(LONGER, date_of=True), {'a'}),
    'link to another': (link(os.symlink, OTHER), {'a'}),
    'hard link to another': (link(os.link, OTHER), {'a'}),
    'empty': (write(b''), {'a'}),
}


@pytest.mark.parametrize('way', WAYS)
def test_any_way_to_replace_an_input_is_noticed(root, way):
    replace, expected = WAYS[way]
    replace(os.path.join(root, 'in', 'a'))
    assert run(root) == expected
    assert run(root) == set()


def test_restored_inputs_keep_outputs_current(root):
    os.rename(root + '/in/a', root + '/away')
    write(OTHER)(root + '/in/b')
    os.rename(root + '/in/b', root + '/other')
    shutil.copy2(root + '/away', root + '/in/a')
    files.save_bytes(root + '/in/b', b'content 1')
    assert run(root) == set()


@pytest.mark.parametrize('copy', [shutil.copy, shutil.copy2])
def test_a_folder_may_be_copied_with_its_outputs(root, tmp_path, copy):
    shutil.copytree(root, str(tmp_path) + '_copy', copy_function=copy)
    assert run(str(tmp_path) + '_copy') == set()


def test_inputs_found_unchanged_are_not_read_again(root, monkeypatch):
    read = []
    checksum = files.checksum
    monkeypatch.setattr(files, 'checksum', lambda path: read.append(path) or checksum(path))
    assert run(root) == set() and not read
    os.utime(root + '/in/a', (FUTURE, FUTURE))
    assert run(root) == set() and read == [root + '/in/a']
    assert run(root) == set() and len(read) == 1


def test_a_lost_output_is_made_again(root):
    os.remove(root + '/out/sub/c')
    assert run(root) == {'sub/c'}


def test_a_value_counts_like_a_file(root):
    assert run(root, classes='1,2') == {'a'}
    assert run(root, classes='1,2') == set()


def test_changed_settings_make_all_again_and_are_reported(root, capsys):
    assert run(root, {'k': 2, 'new': [1]}) == set(NAMES)
    assert 'out: everything is made again because of changed settings: k, new' in capsys.readouterr().err
    assert run(root, {'k': 2, 'new': (1,)}) == set()
    assert run(root) == set(NAMES)


@pytest.mark.parametrize('damage, expected', [
    (lambda data: data[:-9], {'sub/c'}), (lambda data: data + b'b\t12', set()),
    (lambda data: b'\xff\xfe\n' + data, set()),
    (lambda data: data + b'b\n', {'b'}), (lambda data: b'', set(NAMES)), (None, set(NAMES))])
def test_damaged_lines_of_a_record_make_their_outputs_again(root, damage, expected):
    path = root + '/out/inputs.tsv'
    with open(path, 'rb') as file:
        data = file.read()
    os.remove(path)
    if damage:
        files.save_bytes(path, damage(data))
    assert run(root) == expected
    assert run(root) == set()


def test_an_output_that_was_not_recorded_is_made_again(root):
    """Even when its input is as it was recorded once more: the output is of the input in between."""
    write(OTHER)(root + '/in/a')
    with pytest.raises(KeyboardInterrupt):
        run(root, interrupt='a')
    write(SAME, PAST)(root + '/in/a')
    assert run(root) == {'a'}


def test_an_input_changed_after_planning_makes_its_output_again(root):
    outputs, name = Outputs(root + '/out', 'copies', {'k': 1}), Input(root + '/in/a')
    write(OTHER)(root + '/in/a')
    with outputs.writing(['a']):
        outputs.record('a', [name.identity(), Value('1').identity()])
    assert run(root) == {'a'}


def test_a_missing_input_is_an_input_too(root):
    outputs = Outputs(root + '/out', 'copies', {'k': 1})
    with outputs.writing(['b']):
        outputs.record('b', [Input(root + '/in/none').identity()])
    outputs = Outputs(root + '/out', 'copies', {'k': 1})
    assert outputs.is_current('b', [root + '/out/b'], [Input(root + '/in/none')])
    files.save_bytes(root + '/in/none', b'')
    assert not outputs.is_current('b', [root + '/out/b'], [Input(root + '/in/none')])


def test_outputs_stay_current_when_an_input_is_removed(root):
    os.remove(root + '/in/a')
    assert run(root) == set()
    files.save_bytes(root + '/in/a', SAME)
    assert run(root) == set()
    files.save_bytes(root + '/in/a', OTHER)
    assert run(root) == {'a'}


def test_the_record_does_not_grow(root):
    for date in range(9):
        os.utime(root + '/in/a', (date, date))
        assert run(root) == set()
    with open(root + '/out/inputs.tsv') as file:
        assert [line.split('\t')[0] for line in file] == list(NAMES)


def test_a_folder_of_another_stage_is_recognised(root):
    problems = Problems()
    Outputs(root + '/out', 'copies', {'k': 9}).check_owner(problems)
    assert not problems
    Outputs(root + '/out', 'others', {'k': 1}).check_owner(problems)
    assert str(problems) == root + '/out: holds the outputs of copies: choose another folder'


# ---------------------------------------------------------------------------------------------- several processes
def test_another_run_cannot_write_into_a_held_folder(root, monkeypatch):
    monkeypatch.setattr(files, 'PATIENCE', .1)
    with Outputs(root + '/out', 'copies', {'k': 1}).writing([]):
        for shard in (None, Shard(1, 2)):
            with pytest.raises(UserError, match='out: another run is writing here: wait for it, or choose another'):
                run(root, shard=shard)
    assert run(root) == set()


def test_a_killed_run_releases_its_folder(root):
    pid = os.fork()
    if not pid:
        with Outputs(root + '/out', 'copies', {'k': 1}).writing([]):
            os.kill(os.getpid(), 9)
    os.waitpid(pid, 0)
    assert run(root) == set()


# --------------------------------------------------------------------------------------------------------- shards
FIRST, SECOND = Shard(1, 2), Shard(2, 2)        # of NAMES: a and sub/c, b


def run_shard(root, shard, **kwargs):
    return run(root, shard=shard, names=shard.of(NAMES), **kwargs)


def content(folder):
    return {os.path.relpath(path, folder): open(path, 'rb').read() for path in list_files(folder)}


@pytest.fixture
def fresh(root, monkeypatch):
    """A folder without outputs, and what one process makes there."""
    monkeypatch.setattr(files, 'PATIENCE', .1)
    monkeypatch.setattr(files, 'try_lock', lambda file, kind: True)     # as between computers
    made = content(root + '/out')
    shutil.rmtree(root + '/out')
    return root, made


def test_shards_make_what_one_process_makes_to_the_byte(fresh):
    root, made = fresh
    assert run_shard(root, SECOND) == {'b'} and run_shard(root, FIRST) == {'a', 'sub/c'}
    assert set(content(root + '/out')) == {*NAMES, 'inputs-1-of-2.tsv', 'inputs-2-of-2.tsv'}
    assert run_shard(root, FIRST) == run(root) == set()
    assert content(root + '/out') == made


def test_a_killed_shard_is_repeated_and_changes_nothing(fresh):
    root, made = fresh
    with pytest.raises(KeyboardInterrupt):
        run_shard(root, FIRST, interrupt='sub/c')
    with open(root + '/out/inputs-1-of-2.tsv', 'ab') as file:
        file.write(b'sub/c\t12')                       # torn
    files.save_bytes(root + '/out/sub/.c.0.part', b'')
    assert run_shard(root, SECOND) == {'b'} and run_shard(root, FIRST) == {'sub/c'}
    assert run(root) == set() and content(root + '/out') == made


@pytest.mark.parametrize('begun', [(), (FIRST,), (FIRST, SECOND)])
def test_what_a_shard_has_not_made_is_reported_and_made(fresh, capsys, begun):
    root, made = fresh
    for shard in begun:
        run_shard(root, shard)
    outputs = Outputs(root + '/out', 'copies', {'k': 1})
    outputs.report_missing(NAMES, {'b'})
    assert ('out: shard 2 of 2 has not made 1 of its 1 images: they are made now' in capsys.readouterr().err) == bool(
        begun)
    outputs.report_missing(NAMES, set())
    Outputs(root + '/out', 'copies', {'k': 1}, FIRST).report_missing(NAMES, {'b'})
    assert capsys.readouterr().err == ''
    assert run(root) == set(NAMES) - {name for shard in begun for name in shard.of(NAMES)}
    assert content(root + '/out') == made


def test_a_shard_keeps_what_is_made(root):
    write(OTHER)(root + '/in/a')
    assert run_shard(root, FIRST) == {'a'} and run_shard(root, SECOND) == set()
    assert run(root) == set()


def test_the_newest_shards_count_whatever_their_number(fresh):
    root, made = fresh
    thirds = Shard(3, 3), Shard(2, 3), Shard(1, 3)
    for k, shards in ((2, (FIRST, SECOND)), (3, thirds), (1, (FIRST, SECOND)), (2, thirds), (1, (SECOND, FIRST))):
        assert set().union(*(run_shard(root, shard, settings={'k': k}) for shard in shards)) == set(NAMES)
    assert run(root) == set() and content(root + '/out') == made


def test_settings_stand_behind_a_torn_line(fresh):
    root, made = fresh
    run_shard(root, FIRST, settings={'k': 2})
    with open(root + '/out/inputs-1-of-2.tsv', 'ab') as file:
        file.write(b'a')
    assert run_shard(root, FIRST) == {'a', 'sub/c'} and run_shard(root, SECOND) == {'b'}
    assert run(root) == set() and content(root + '/out') == made


def test_changed_settings_are_reported_by_the_first_shard(root, capsys):
    run_shard(root, FIRST, settings={'k': 2})
    assert 'out: everything is made again because of changed settings: k' in capsys.readouterr().err
    run_shard(root, SECOND, settings={'k': 2})
    assert run(root, {'k': 2}) == set() and not capsys.readouterr().err


def test_an_output_of_a_shard_with_other_settings_is_made_again(root):
    """Even when the shard was killed before it could record it."""
    with pytest.raises(KeyboardInterrupt):
        run_shard(root, FIRST, settings={'k': 2}, interrupt='a')
    assert run(root) == {'a', 'sub/c'}


def test_an_output_that_a_shard_did_not_record_is_made_again(root):
    write(OTHER)(root + '/in/a')
    with pytest.raises(KeyboardInterrupt):
        run_shard(root, FIRST, interrupt='a')
    write(SAME, PAST)(root + '/in/a')
    assert run(root) == {'a'}


def test_shards_of_another_stage_are_recognised(fresh):
    root, _ = fresh
    run_shard(root, FIRST)
    problems = Problems()
    Outputs(root + '/out', 'others', {'k': 1}).check_owner(problems)
    assert str(problems) == root + '/out: holds the outputs of copies: choose another folder'


def test_shards_leave_half_written_files_of_each_other_alone(root):
    files.save_bytes(root + '/out/.b.0.part', b'')
    write(OTHER)(root + '/in/a')
    assert run_shard(root, FIRST) == {'a'} and os.path.exists(root + '/out/.b.0.part')
    assert run(root) == set() and not os.path.exists(root + '/out/.b.0.part')


def test_only_shards_of_the_same_work_share_a_folder(root, monkeypatch):
    monkeypatch.setattr(files, 'PATIENCE', .1)
    with Outputs(root + '/out', 'copies', {'k': 1}, FIRST).writing(['a']):
        assert run_shard(root, SECOND) == set()
        with pytest.raises(UserError, match='out: another run makes the same shard: wait for it, or give another --sh'):
            run_shard(root, FIRST)
        for settings, shard in (({'k': 2}, SECOND), ({'k': 1}, Shard(2, 3))):
            with pytest.raises(UserError, match='out: shard 1 of 2 is being made here: wait for it, or choose anoth'):
                run_shard(root, shard, settings=settings)
        with pytest.raises(UserError, match='out: another run is writing here'):
            run(root)
        with monkeypatch.context() as elsewhere:        # locks of folders do not reach other computers
            elsewhere.setattr(files, 'folder_lock', lambda *_, **__: contextlib.nullcontext())
            with pytest.raises(UserError, match='out: shard 1 of 2 is being made here'):
                run(root)
    assert run(root) == {'a'}


def test_a_shard_that_is_about_to_begin_stops_no_other(root, monkeypatch):
    monkeypatch.setattr(files, 'PATIENCE', .1)
    with open(root + '/out/inputs-1-of-2.tsv', 'wb') as record:
        fcntl.flock(record, fcntl.LOCK_EX)
        assert run_shard(root, SECOND) == set()
        with pytest.raises(UserError, match='shard 1 of 2 is being made here'):
            run_shard(root, Shard(2, 3))
