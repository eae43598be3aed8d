"""What a stage's outputs were made with, and whether they are out of date."""
import json
import os

from icd import console, files


def up_to_date(output, *inputs):
    """True when `output` exists and is no older than any of `inputs` (missing inputs do not count)."""
    def stamp(path):
        try:
            return os.stat(path).st_mtime_ns
        except FileNotFoundError:
            return None
    made = stamp(output)
    return made is not None and all(made >= (stamp(path) or 0) for path in inputs)


def relative_path(path, folder):
    """How the settings of the outputs in `folder` note an input: moving both together is no change."""
    return os.path.relpath(os.path.realpath(path), os.path.realpath(folder))


def settings_path(folder):
    """The file in an output folder that says what its files were made with."""
    return os.path.join(folder, 'settings.json')


def same_settings(folder, settings):
    """True when `stage_settings` noted these settings in `folder`; writes nothing."""
    return _noted_settings(folder) == settings


def _noted_settings(folder):
    try:
        with open(settings_path(folder), encoding='utf-8') as file:
            return json.load(file)
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None


def stage_settings(folder, settings):
    """Note in `folder/settings.json` what a stage's outputs were made with.

    The file is rewritten only when the settings changed, so outputs older than it are out of date
    (`up_to_date(output, ..., settings_file)`).

    Parameters
    ----------
    folder : str
        The stage's output folder; created when missing.
    settings : dict
        JSON-serialisable values that change the outputs.

    Returns
    -------
    str
        The path of `settings.json`.
    """
    path, noted = settings_path(folder), _noted_settings(folder)
    if noted != settings:
        if isinstance(noted, dict):
            console.log('%s: what is there is made again, for it was made with another %s' % (folder, ', '.join(
                sorted(word for word in set(noted) | set(settings) if noted.get(word) != settings.get(word)))))
        files.save_json(path, settings)
    return path
