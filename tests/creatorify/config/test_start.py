import gc

from django.apps import apps

from creatorify.config.start import read_settings


def test_garbage_is_collected_again_when_all_apps_are_loaded() -> None:
    try:
        read_settings()
        assert not gc.isenabled()

        apps.get_app_config("creatorify").ready()

        assert gc.isenabled()
        assert gc.get_freeze_count() > 10_000
    finally:
        gc.enable()
