from tests.render.conftest import enqueue, site  # noqa: F401
from tests.service.conftest import client, post, wait_for  # noqa: F401
