"""The forms of signing in and up in the portal's words: a label above each field, nothing that vanishes when typing."""

from __future__ import annotations

from typing import Any, Final

from allauth.account import forms as allauth
from django.forms import BaseForm
from django.utils.translation import gettext_lazy as _

LABELS: Final = {
    "email": _("E-mail address"),
    "login": _("E-mail address"),
    "password": _("Password"),
    "password1": _("Password"),
}


class SignInForm(allauth.LoginForm):  # type: ignore[misc]  # allauth ships no types
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        _reword(self)
        self.fields["password"].help_text = ""


class SignUpForm(allauth.SignupForm):  # type: ignore[misc]
    field_order = ("name", "email", "password1")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        _reword(self)
        self.fields["password1"].help_text = _("12 characters or more. A sentence is easy to keep in mind.")


def _reword(form: BaseForm) -> None:
    for name, field in form.fields.items():
        field.label = LABELS.get(name, field.label)
        field.widget.attrs.pop("placeholder", None)
