"""Local accounts: what signing up asks beside address and password, and where one may be sent afterwards."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from allauth.account.adapter import DefaultAccountAdapter
from django import forms
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

from fabrique.apps.now import now_ms
from fabrique.apps.people import services
from fabrique.core.fields import name_error
from fabrique.portal import speaker

if TYPE_CHECKING:
    from fabrique.apps.people.models import Person


class NameForm(forms.Form):
    """The base of allauth's own form of signing up."""

    name = forms.CharField(label=_("Your name"), max_length=200, widget=forms.TextInput(attrs={"autocomplete": "name"}))

    def clean_name(self) -> str:
        name = str(self.cleaned_data["name"])
        if error := name_error("name", name, 200):
            raise forms.ValidationError(speaker.current().field_error(error))
        return name

    def signup(self, request: HttpRequest, user: Person) -> None:
        user.name = self.cleaned_data["name"]
        user.created_ms = now_ms()
        user.save()


def void_links(user: Person, **_: object) -> None:
    """On a new password: a link made before it signs nobody in."""
    services.void_sign_in_links(user)


class Adapter(DefaultAccountAdapter):  # type: ignore[misc]  # allauth ships no types
    """Stays on this hub: no redirect leaves it."""

    def is_safe_url(self, url: str | None) -> bool:
        return bool(url) and str(url).startswith("/") and not str(url).startswith(("//", "/\\"))

    def populate_username(self, request: HttpRequest, user: Any) -> None:
        """A person has no user name."""
