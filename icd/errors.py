"""The one kind of error that is the user's to mend."""


class UserError(Exception):
    """A mistake in what the user gave: one line that names the file, what is wrong and what to do.

    The commands print it without a traceback and end with exit code 2 (`icd.runtime.door`). Everything else
    that is raised is a bug of the project and keeps its traceback.
    """

    def parts(self, path):
        """What is wrong with the file `path`, and what to do, of an error that reads 'path: what: remedy'.

        Returns
        -------
        (str, str)
        """
        text = str(self)
        what, _, remedy = (text[len(path) + 2:] if text.startswith(path + ': ') else text).rpartition(': ')
        return what, remedy
