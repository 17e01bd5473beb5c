"""nbgrader's `zip_collect`, with the names of files read as `pgcourse grade --from` reads them.

A class's nbgrader_config.py names this plugin: what lies in downloaded/<lesson>/archive/ needs no regular expression.
"""

import os
from functools import cached_property

from nbgrader.plugins import FileNameCollectorPlugin

from pgcourse.classroom import downloads
from pgcourse.classroom.gradebook import ClassError, Classroom


class Collector(FileNameCollectorPlugin):
    """Says of each extracted file whose it is; of several attempts the last one is taken."""

    def collect(self, submitted_file):
        return self.answers.get(os.path.realpath(submitted_file))

    @cached_property
    def answers(self):
        """{file: what zip_collect asks}; the whole download is looked at, once."""
        app = self.parent
        lesson, room = app.coursedir.assignment_id, Classroom(app.coursedir.root)
        folder = os.path.realpath(app._format_collect_path(app.extracted_directory))
        try:
            found = downloads.collect(room, lesson, folder, look_only=True)
        except ClassError as error:
            self.log.warning(str(error))
            return {}
        downloads.remember(room, found)
        answers = {}
        for name, item in found.students.items():
            answers[str(item.path)] = {"student_id": name, "file_id": lesson}
            if item.when:
                answers[str(item.path)]["timestamp"] = downloads.stamp_of(item)
            if not item.path.is_relative_to(folder):
                self.log.warning(
                    "%s is in an archive inside of another, which zip_collect does not open: "
                    "pgcourse grade --from does.", item.inside,
                )  # fmt: skip
        for item, reason in found.unusable:
            self.log.warning("%s cannot be used: %s", item.inside, reason)
        return answers
