"""Every setting, by subject. Only `base.env` reads the environment: NAME_FILE gives the value of NAME as a file.

Importing the settings starts nothing: the embedded database starts with the first connection.
"""

from creatorify.settings.api import *
from creatorify.settings.applications import *
from creatorify.settings.base import *
from creatorify.settings.database import *
from creatorify.settings.engines import *
from creatorify.settings.logs import *
from creatorify.settings.media import *
from creatorify.settings.queue import *
