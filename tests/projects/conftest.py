from tests.render.conftest import site  # noqa: F401
