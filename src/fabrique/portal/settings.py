"""Settings, read once from the environment. `docs/reference/settings.md` documents each; a test compares.

FABRIQUE_HOME          the hub's folder (database, keys, runs)
FABRIQUE_DATABASE_URL  postgresql://user:password@host:port/name; without it, HOME/fabrique.sqlite3
FABRIQUE_HOSTS         names the portal answers to, separated by commas (default: this machine's loopback)
FABRIQUE_PROXIES       how many proxies stand before the portal, each adding to X-Forwarded-For (default: 0); with the
                       right number, attempts to sign in are counted by the visitor's own address
FABRIQUE_HTTPS         1 behind TLS: secure cookies and strict transport
"""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from urllib.parse import unquote, urlsplit

from fabrique.language import catalogue

HOME = Path(os.environ.get("FABRIQUE_HOME", ".fabrique/home")).absolute()
HTTPS = os.environ.get("FABRIQUE_HTTPS", "") == "1"
PROXIES = os.environ.get("FABRIQUE_PROXIES", "")


def _secret_key() -> str:
    """The key made by `fabrique init`; before that, one of this process alone."""
    try:
        return (HOME / "keys" / "django.key").read_text(encoding="ascii").strip()
    except OSError:
        return secrets.token_urlsafe(48)


def _database(url: str) -> dict[str, object]:
    if not url:
        return {
            "ENGINE": "django.db.backends.sqlite3",
            "NAME": HOME / "fabrique.sqlite3",
            "OPTIONS": {
                # a deferred transaction that turns to writing fails at once, whatever the timeout
                "transaction_mode": "IMMEDIATE",
                "timeout": 20,
                "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA foreign_keys=ON;",
            },
        }
    parts = urlsplit(url)
    return {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": parts.path.lstrip("/"),
        "USER": unquote(parts.username or ""),
        "PASSWORD": unquote(parts.password or ""),
        "HOST": unquote(parts.hostname or ""),
        "PORT": str(parts.port or ""),
        "CONN_HEALTH_CHECKS": True,
        "CONN_MAX_AGE": 60,
    }


SECRET_KEY = _secret_key()
DEBUG = False
ALLOWED_HOSTS = [h for h in os.environ.get("FABRIQUE_HOSTS", "127.0.0.1,localhost,[::1]").split(",") if h]
ROOT_URLCONF = "fabrique.portal.urls"
WSGI_APPLICATION = "fabrique.portal.wsgi.application"
DATABASES = {"default": _database(os.environ.get("FABRIQUE_DATABASE_URL", ""))}
CACHES = {
    "default": {  # shared: attempts to sign in are counted once, whichever process answers
        "BACKEND": "django.core.cache.backends.db.DatabaseCache",
        "LOCATION": "people_cacheentry",
        "OPTIONS": {"MAX_ENTRIES": 50_000},  # more than anybody makes while a count is kept
    }
}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

INSTALLED_APPS = [
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "allauth",
    "allauth.account",
    "fabrique.apps.people",
    "fabrique.apps.audit",
    "fabrique.apps.ledger",
    "fabrique.apps.access",
    "fabrique.apps.jobs",
    "fabrique.apps.energy",
    "fabrique.apps.catalogue",
    "fabrique.apps.provision",
    "fabrique.apps.rules",
    "fabrique.apps.reports",
    "fabrique.portal.apps.PortalConfig",
]
MIDDLEWARE = [
    "fabrique.portal.middleware.ContentSecurityMiddleware",
    "fabrique.portal.middleware.SizeMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "fabrique.portal.middleware.LanguageMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "allauth.account.middleware.AccountMiddleware",
    "fabrique.portal.middleware.PrivateMiddleware",
    "fabrique.portal.middleware.ErrorMiddleware",
]
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [Path(__file__).parent / "templates"],  # before allauth's own
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "fabrique.portal.context.hub",
            ],
            "builtins": [
                "fabrique.portal.templatetags.say",
                "django.templatetags.i18n",
                "django.templatetags.static",
            ],
        },
    }
]

AUTH_USER_MODEL = "people.Person"
AUTHENTICATION_BACKENDS = ["allauth.account.auth_backends.AuthenticationBackend"]
PASSWORD_HASHERS = ["django.contrib.auth.hashers.Argon2PasswordHasher"]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator", "OPTIONS": {"min_length": 12}},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
]
CSRF_FAILURE_VIEW = "fabrique.portal.errors.csrf"
LOGIN_URL = "/account/login/"
LOGIN_REDIRECT_URL = "/"
ACCOUNT_LOGIN_METHODS = {"email"}
ACCOUNT_SIGNUP_FIELDS = ["email*", "password1*"]
ACCOUNT_USER_MODEL_USERNAME_FIELD = None
ACCOUNT_EMAIL_VERIFICATION = "none"  # no mail server is assumed; the address is only how to reach a person
ACCOUNT_FORMS = {
    "login": "fabrique.portal.account_forms.SignInForm",
    "signup": "fabrique.portal.account_forms.SignUpForm",
}
ACCOUNT_SIGNUP_FORM_CLASS = "fabrique.portal.account.NameForm"
ACCOUNT_SESSION_REMEMBER = True
ACCOUNT_ADAPTER = "fabrique.portal.account.Adapter"
ACCOUNT_LOGOUT_ON_GET = False
ALLAUTH_TRUSTED_PROXY_COUNT = int(PROXIES) if PROXIES.isascii() and PROXIES.isdigit() else 0
EMAIL_BACKEND = "django.core.mail.backends.filebased.EmailBackend"
EMAIL_FILE_PATH = HOME / "mail"

LANGUAGES = [("fr", "Français"), ("fr-ca", "Français (Québec)"), ("en", "English")]
LANGUAGE_CODE = "en"
LANGUAGE_COOKIE_NAME = "fabrique-language"
LANGUAGE_COOKIE_AGE = 31_536_000
LANGUAGE_COOKIE_SAMESITE = "Lax"
LOCALE_PATHS = [catalogue.locale_path()]
USE_I18N = True
USE_TZ = True
TIME_ZONE = "UTC"

STATIC_URL = "/static/"
STATIC_ROOT = None
WHITENOISE_USE_FINDERS = True  # no collectstatic step between a clone and a running portal

SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = "Lax"
CSRF_COOKIE_SAMESITE = "Strict"
CSRF_COOKIE_HTTPONLY = True
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = HTTPS
SECURE_HSTS_SECONDS = 31_536_000 if HTTPS else 0
SECURE_CONTENT_TYPE_NOSNIFF = True
SECURE_REFERRER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"
DATA_UPLOAD_MAX_MEMORY_SIZE = 2 * 1024 * 1024
FILE_UPLOAD_MAX_MEMORY_SIZE = 2 * 1024 * 1024
FILE_UPLOAD_HANDLERS = ["fabrique.portal.sizes.MemoryOnly"]
SILENCED_SYSTEM_CHECKS = ["auth.W004"]

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"format": "%(asctime)s %(levelname)s %(name)s %(message)s"}},
    "filters": {"discreet": {"()": "fabrique.portal.log_filter.Discreet"}},
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line", "filters": ["discreet"]}},
    "root": {"handlers": ["stderr"], "level": "WARNING"},
}
