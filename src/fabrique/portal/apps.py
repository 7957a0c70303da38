from django.apps import AppConfig


class PortalConfig(AppConfig):
    name = "fabrique.portal"
    label = "portal"
