"""What is refused of a configuration; see also ``InvalidConfigVersion``.

``number`` is the status code of the same refusal in deepseek-ai/3FS (src/common/utils/StatusCodeDetails.h).
"""

from __future__ import annotations

from typing import ClassVar

from svcmgr.errors import BadInput


class InvalidConfig(BadInput):
    """A text cannot be used as configuration.

    ``details`` have ``line`` and ``column``, counted from 1, and ``key`` where they are known, and ``faults``: all that
    was found, one line each.
    """

    code = "invalid-config"
    number: ClassVar[int] = 4
