from django.apps import AppConfig


class CreatorifyConfig(AppConfig):
    name = "creatorify"
