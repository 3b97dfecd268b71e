"""The interface of a media storage (`base`) and its implementations; the settings name the one in use."""
