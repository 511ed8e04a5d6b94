"""What a field of a request may hold: the character sets and bounds, each with its remedy.

They are types, so that one pass of pydantic finds every fault of a request at once; regular
expressions run in its compiled core. Whatever passes here is safe as a libvirt name, a file name
and a label, which is why the sets are small.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from ipaddress import ip_address
from typing import Annotated

from pydantic import AfterValidator, Field, StringConstraints
from pydantic_core import PydanticCustomError

from scheduler.validation import cloud_configs

NAME = r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$"
OWNER = r"^[A-Za-z0-9][A-Za-z0-9._:@-]{0,127}$"
IMAGE = r"^[A-Za-z0-9][A-Za-z0-9._:@+-]{0,199}$"
DIGEST = r"^sha256:[0-9a-f]{64}$"
OBJECT = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$"
SOURCE = r"^([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?/)?[^\x00-\x1f\x7f/]{1,255}$"
DOMAIN = r"^[^\x00-\x1f\x7f/]{1,255}$"
LABEL_KEY = (
    r"^([a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?/)?[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?$"
)
LABEL_VALUE = r"^([A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?)?$"
ADDRESS = r"^[A-Za-z0-9]([A-Za-z0-9.:-]{0,252}[A-Za-z0-9])?$"
URI = r"^(qemu|test)(\+(unix|tls))?://[A-Za-z0-9._~:/?=&%@+-]{1,480}$"
USER = r"^[a-z_][a-z0-9_-]{0,31}$"
PATH = r"^/[^\x00-\x1f\x7f]{1,1023}$"
UUID = r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$"
REASON = r"^[^\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]{0,500}$"
HOST_PATTERN = r"^[A-Za-z0-9_*][A-Za-z0-9_.:*&!,\[\]-]{0,199}$"
MODULE = r"^[a-z_][a-z0-9_]{0,63}(\.[a-z_][a-z0-9_]{0,63}){2,4}$"
TITLE = r"^[^\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]{1,200}$"
PROSE = r"^[^\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]*$"
FORGE_WORD = r"^[!-+\--~]([ -+\--~]{0,48}[!-+\--~])?$"
FINGERPRINT = r"^SHA256:[A-Za-z0-9+/]{43}$"
IP = r"^[0-9A-Fa-f.:]{2,45}$"
FORGE_USER = r"^[A-Za-z0-9_][A-Za-z0-9._-]{0,99}$"

PATTERN_REMEDIES: Mapping[str, str] = {
    NAME: "use 1 to 63 of a-z, 0-9 and '-', beginning and ending with a letter or digit",
    OWNER: "use 1 to 128 of A-Z, a-z, 0-9 and '._:@-', beginning with a letter or digit",
    IMAGE: "name an image or a volume, no path: 1 to 200 of A-Z, a-z, 0-9 and '._:@+-'",
    DIGEST: "give 'sha256:' and the 64 hex digits that sha256sum tells",
    OBJECT: "use 1 to 63 of A-Z, a-z, 0-9 and '._-', beginning with a letter or digit",
    SOURCE: "give the machine's name, or HOST/NAME",
    DOMAIN: "give the name that libvirt has for it: at most 255 characters, no slash",
    LABEL_KEY: "use 1 to 63 of A-Z, a-z, 0-9 and '._-', after an optional 'prefix/'",
    LABEL_VALUE: "use at most 63 of A-Z, a-z, 0-9 and '._-', with a letter or digit at both ends",
    ADDRESS: "give a host name or an IP address, without user, port or path",
    URI: "give a libvirt URI of a local driver, such as qemu:///system; plain TCP is refused",
    USER: "give a Unix user name of at most 32 characters",
    PATH: "give an absolute path on the machine the daemon runs on",
    UUID: "give a UUID in lower case, such as 6b0f1e9c-5a51-4d5e-8f6a-3f1d6f2b7c55",
    HOST_PATTERN: "give Ansible's pattern of host names, such as all or web*",
    MODULE: "give the module's fully qualified name, such as ansible.builtin.copy",
    TITLE: "use 1 to 200 characters, none of them a control character",
    PROSE: "use text of lines, without other control characters",
    FORGE_WORD: "use at most 50 printable ASCII characters, none of them a comma",
    FORGE_USER: "give a user's name on the forge",
    FINGERPRINT: "give it as ssh-keygen -l prints it: SHA256: and 43 characters",
    IP: "give an IP address",
    REASON: "use at most 500 characters, none of them a control character",
}

MOST_LABELS = 16
MOST_LABEL_CHARACTERS = 1024
MOST_SSH_KEYS = 16
LONGEST_SSH_KEY = 4096
MOST_USER_DATA_BYTES = 16 * 1024
MOST_VCPUS = 512
LEAST_MEMORY_MB, MOST_MEMORY_MB = 32, 16 * 1024 * 1024
MOST_STORAGE_MB = 64 * 1024 * 1024
LONGEST_TTL_SECONDS = 10 * 365 * 24 * 3600
SSH_KEY_TYPES = frozenset(
    {
        "ssh-ed25519",
        "ssh-rsa",
        "ecdsa-sha2-nistp256",
        "ecdsa-sha2-nistp384",
        "ecdsa-sha2-nistp521",
        "sk-ssh-ed25519@openssh.com",
        "sk-ecdsa-sha2-nistp256@openssh.com",
    }
)


def refusal(message: str, remedy: str) -> PydanticCustomError:
    """Return a fault that tells what is wrong and what to do; neither may quote the input."""
    return PydanticCustomError("refused", "{message}", {"message": message, "remedy": remedy})


def _few_labels(labels: dict[str, str]) -> dict[str, str]:
    if len(labels) > MOST_LABELS:
        raise refusal(f"there are {len(labels)} labels", f"give at most {MOST_LABELS}")
    if sum(len(key) + len(value) for key, value in labels.items()) > MOST_LABEL_CHARACTERS:
        raise refusal(
            "the labels are too long together",
            f"keep keys and values within {MOST_LABEL_CHARACTERS} characters in all",
        )
    return labels


def _ssh_public_key(text: str) -> str:
    remedy = "give one line of an OpenSSH public key, such as the contents of id_ed25519.pub"
    if len(text) > LONGEST_SSH_KEY:
        raise refusal(f"the key is longer than {LONGEST_SSH_KEY} characters", remedy)
    if not text.isprintable():
        raise refusal("the key holds a line break or another control character", remedy)
    kind, _, rest = text.strip().partition(" ")
    if kind not in SSH_KEY_TYPES:
        raise refusal("the key does not begin with the type of a public key", remedy)
    try:
        blob = base64.b64decode(rest.split(" ", 1)[0], validate=True)
    except (binascii.Error, ValueError):
        raise refusal("the key's second word is not base64", remedy) from None
    name = kind.encode()
    if not blob.startswith(len(name).to_bytes(4, "big") + name):
        raise refusal("the key's data is not of the type it begins with", remedy)
    return text.strip()


def _ip_address(text: str) -> str:
    try:
        return str(ip_address(text))
    except ValueError:
        raise refusal("this is no IP address", PATTERN_REMEDIES[IP]) from None


def _user_data(text: str) -> str:
    if not text.startswith("#!") and text.partition("\n")[0].rstrip() != cloud_configs.CLOUD_CONFIG:
        raise refusal(
            "user data of this kind is not passed on",
            "begin it with #cloud-config, or with #! and an interpreter",
        )
    if any(not (one.isprintable() or one in "\n\t") for one in text):
        raise refusal(
            "the user data holds a control character",
            "keep to text with line feeds and tabs; lines end in LF, not CR LF",
        )
    if len(text.encode("utf-8", "replace")) > MOST_USER_DATA_BYTES:
        raise refusal(
            f"the user data is longer than {MOST_USER_DATA_BYTES} bytes",
            "have it fetch what is larger, or bake that into the image",
        )
    fault = None if text.startswith("#!") else cloud_configs.fault_of(text)
    if fault is not None:
        raise refusal(fault, "correct it; a script (#!) may do in the guest whatever root may")
    return text


Name = Annotated[str, StringConstraints(pattern=NAME)]
Owner = Annotated[str, StringConstraints(pattern=OWNER)]
ImageName = Annotated[str, StringConstraints(pattern=IMAGE)]
ImageDigest = Annotated[str, StringConstraints(pattern=DIGEST)]
SourceName = Annotated[str, StringConstraints(pattern=SOURCE)]
ObjectName = Annotated[str, StringConstraints(pattern=OBJECT)]
Address = Annotated[str, StringConstraints(pattern=ADDRESS)]
Uri = Annotated[str, StringConstraints(pattern=URI)]
UserName = Annotated[str, StringConstraints(pattern=USER)]
Path = Annotated[str, StringConstraints(pattern=PATH)]
MachineUuid = Annotated[str, StringConstraints(pattern=UUID)]
Reason = Annotated[str, StringConstraints(pattern=REASON)]
Fingerprint = Annotated[str, StringConstraints(pattern=FINGERPRINT)]
IpAddress = Annotated[str, StringConstraints(pattern=IP), AfterValidator(_ip_address)]
ForgeWord = Annotated[str, StringConstraints(pattern=FORGE_WORD)]
ForgeUser = Annotated[str, StringConstraints(pattern=FORGE_USER)]
LabelKey = Annotated[str, StringConstraints(pattern=LABEL_KEY)]
LabelValue = Annotated[str, StringConstraints(pattern=LABEL_VALUE)]
Labels = Annotated[dict[LabelKey, LabelValue], AfterValidator(_few_labels)]
SshPublicKey = Annotated[str, AfterValidator(_ssh_public_key)]
SshPublicKeys = Annotated[list[SshPublicKey], Field(max_length=MOST_SSH_KEYS)]
UserData = Annotated[str, AfterValidator(_user_data)]

Vcpus = Annotated[int, Field(ge=1, le=MOST_VCPUS)]
MemoryMb = Annotated[int, Field(ge=LEAST_MEMORY_MB, le=MOST_MEMORY_MB)]
StorageMb = Annotated[int, Field(ge=1, le=MOST_STORAGE_MB)]
TtlSeconds = Annotated[int, Field(ge=1, le=LONGEST_TTL_SECONDS)]
Ratio = Annotated[float, Field(gt=0, le=64, allow_inf_nan=False)]
