"""From a call to the hub it means: its home, its language, the person who acts. The environment is read here alone."""

from __future__ import annotations

import os
import pwd
import shlex
import shutil
import sys
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from fabrique.cli.shared import Call, current
from fabrique.core.errors import FabriqueError

if TYPE_CHECKING:
    from fabrique.apps.people.models import Person
    from fabrique.apps.this_hub import ThisHub
    from fabrique.core.access import Text
    from fabrique.core.reasons import Reason
    from fabrique.language.say import Speaker

HOMES: Final = Path(".fabrique")
DEFAULT_HUB: Final = "ca-lasalle-hub"
SETTINGS: Final = "fabrique.portal.settings"
_replaced: Final[dict[str, str | None]] = {}  # a home we put into FABRIQUE_HOME -> what stood there


@dataclass(frozen=True)
class Desk:
    """An open hub and who is at its desk."""

    call: Call
    here: ThisHub
    say: Speaker

    @property
    def now(self) -> int:
        from fabrique.apps.now import now_ms

        return now_ms()

    @cached_property
    def person(self) -> Person:
        """Whom this call acts for: `--as`, else the first person with this login. Raises `person.missing`."""
        from fabrique.apps.people import services as people

        if self.call.acting:
            return people.find_person(self.call.acting)
        found = person_of_login()
        if found is None:
            raise FabriqueError("person.missing", email=login())
        return found

    def command(self, words: str, acting: str | None = None) -> str:
        """What to type next, for this hub and this person."""
        return command_line(self.here.home, acting or self.call.acting, words)

    def why(self, reason: Reason | None) -> dict[str, Any] | None:
        """A reason as JSON, with its sentence."""
        return None if reason is None else {**reason.as_json(), "sentence": self.say.reason(reason)}

    def words(self, text: Text) -> str:
        """One of the texts that a mode carries in each language."""
        return text.said({"fr-ca": "fr-CA"}.get(self.say.language, self.say.language))


def enter(call: Call) -> Desk:
    """Opens the hub of this call. Raises `home.missing`, `home.several`, `deployment.broken`, `definition.broken`."""
    home = home_of(call)
    if not is_hub(home):
        raise FabriqueError("home.missing", home=str(home))
    start_django(home)
    from fabrique.apps.this_hub import this_hub

    here = this_hub()
    current.here = here
    return Desk(call, here, speaker(call, here))


def speaker(call: Call, here: ThisHub | None = None) -> Speaker:
    """In the language of the call, else of the environment; in the time zone of the hub, once one is open."""
    from fabrique.language.say import Speaker

    variables = (os.environ.get(name) for name in ("LC_ALL", "LC_MESSAGES", "LANG"))
    language = call.language or next((v for v in variables if v), "en")
    if here is None:
        return Speaker(language.partition(".")[0])
    from fabrique.language.catalogue import language_code
    from fabrique.portal.speaker import speaker_of  # the names of devices, as the pages say them

    return speaker_of(language_code(language.partition(".")[0]), here.timezone)


def home_of(call: Call, hub: str | None = None) -> Path:
    """The home that is meant, there or not: `--home`, FABRIQUE_HOME, that of `hub` or of HUB, or the only one."""
    named = call.home or _home_of_environment()
    if named:
        return Path(named).absolute()
    hub = hub or hub_of_environment()
    if hub:
        return (HOMES / hub_id(hub)).absolute()
    homes = [path.parent for path in sorted(HOMES.glob("*/fabrique.toml"))]
    if len(homes) > 1:
        raise FabriqueError("home.several", homes=[path.name for path in homes])
    return (homes[0] if homes else HOMES / DEFAULT_HUB).absolute()


def _home_of_environment() -> str | None:
    """FABRIQUE_HOME as it was given, also after `start_django` has set it."""
    value = os.environ.get("FABRIQUE_HOME")
    return _replaced.get(value, value) if value else None


def hub_of_environment() -> str | None:
    return os.environ.get("HUB") or None


def is_hub(home: Path) -> bool:
    """Whether a hub was made there. Raises OSError where the folder can't be looked into."""
    try:
        return (home / "fabrique.toml").stat().st_size > 0
    except (FileNotFoundError, NotADirectoryError):
        return False


def command_line(home: Path, acting: str | None, words: str) -> str:
    """The command as it was called, with the options that mean this home and this person where they are needed."""
    called = shutil.which("fabrique")
    own = sys.argv[0] if Path(sys.argv[0]).name == "fabrique" else "fabrique"
    program = "fabrique" if called is not None and Path(called).samefile(shutil.which(own) or called) else own
    try:
        found_without = home_of(Call()) == home
    except FabriqueError:
        found_without = False
    options = [] if found_without else ["--home", shlex.quote(str(home))]
    return " ".join([program, *options, *(["--as", acting] if acting else []), words])


def hub_id(hub: str) -> str:
    """The id of a hub, given as an id or as a file. Raises `definition.missing`, `definition.broken`."""
    from fabrique.definitions import hubs

    if not is_file(hub):
        if hub not in hubs.builtin():
            raise FabriqueError("definition.missing", id=hub[:80], known=list(hubs.builtin()))
        return hub
    found, complaints = hubs.load(hub)
    if found is None:
        raise FabriqueError("definition.broken", file=hub, complaints=complaints)
    return found.id


def is_file(hub: str) -> bool:
    """Whether `hub` names a file and not one of ours."""
    return hub.endswith((".yaml", ".yml"))


def start_django(home: Path) -> None:
    """Settings read the home from the environment, once a process."""
    if os.environ.get("FABRIQUE_HOME") != str(home):
        _replaced[str(home)] = os.environ.get("FABRIQUE_HOME")
    os.environ["FABRIQUE_HOME"] = str(home)
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", SETTINGS)
    import django
    from django.conf import settings

    django.setup()
    if home.resolve() != settings.HOME.resolve():
        raise RuntimeError(f"this process is at {settings.HOME}, not at {home}")


def login() -> str:
    """The name of the user who runs this, as the machine knows it."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name[:64]
    except KeyError:
        return str(os.getuid())


def person_of_login() -> Person | None:
    from fabrique.apps.people.models import Person

    return Person.objects.filter(login=login(), is_active=True).order_by("created_ms", "id").first()
