from django.apps import AppConfig


class PortalConfig(AppConfig):
    name = "fabrique.portal"
    label = "portal"

    def ready(self) -> None:
        from allauth.account import signals

        from fabrique.portal.account import void_links

        for signal in (signals.password_set, signals.password_changed, signals.password_reset):
            signal.connect(void_links)
