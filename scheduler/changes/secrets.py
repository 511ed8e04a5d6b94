"""What never leaves a guest as code: files that are secrets by their place or by what they hold.

A change set is read by many and kept in repositories, so a doubt is a refusal, told for review.
"""

from __future__ import annotations

import re

from scheduler.changes.passwords import password_in

_PLACES = re.compile(
    r"/etc/g?shadow-?|/etc/security/opasswd|/etc/(?:libnss-|pam_)?ldap\.secret"
    r"|/etc/ssh/[^/]+_key|/etc/dropbear/.+_key"
    r"|/etc/ssl/private/.+|/etc/pki/tls/private/.+|/etc/letsencrypt/.+|/etc/dovecot/private/.+"
    # Ways into networks.
    r"|/etc/wireguard/.+|/etc/openvpn/.+\.(?:key|auth|pass|secret)|/etc/ppp/.*secrets"
    r"|/etc/(?:strongswan/)?(?:swanctl/.+|ipsec\.secrets|ipsec\.d/private/.+)|.+\.secrets"
    r"|/etc/NetworkManager/system-connections/.+|/etc/wpa_supplicant/.+|.*/wpa_supplicant.*\.conf"
    # Clusters, and what is signed or encrypted with.
    r"|/etc/kubernetes/.+\.conf|/etc/rancher/.+|/etc/ceph/.+\.keyring|/etc/munge/munge\.key"
    r"|/etc/(?:corosync|pacemaker)/authkey|/etc/cloudflared/.+\.json|/etc/gitlab/.*secrets\.json"
    r"|.*/rndc\.key|/etc/(?:bind|named)/.+\.key|.*/K[^/]+\.private|/etc/dkimkeys/.+\.private"
    r"|/etc/(?:cryptsetup-keys\.d|luks-keys|keys|credstore|credstore\.encrypted)/.+"
    # What servers and clients of them log in with.
    r"|/etc/apt/auth\.conf(?:\.d/.+)?|/etc/containers/auth\.json|/etc/passwd-s3fs"
    r"|/etc/mysql/debian\.cnf|/etc/samba/smbpasswd|/etc/postfix/.*passwd(?:\.db)?"
    r"|/etc/exim4/passwd\.client|/etc/(?:freeradius|raddb)/.*(?:clients\.conf|users|authorize)"
    r"|/etc/gitlab-runner/config\.toml|.*/\.?(?:htpasswd|htdigest)[^/]*|.*/\.?smb-?cred[^/]*"
    r"|.*/\.env(?!\.(?:example|sample|dist|template)\Z)(?:\.[^/]+)?"
    # Homes.
    r"|.*/\.ssh/(?!authorized_keys$|known_hosts$|config$|.*\.pub$).+"
    r"|.*/\.(?:gnupg|password-store|subversion/auth|cloudflared|azure|local/share/keyrings)/.+"
    r"|.*/[._](?:netrc|pgpass|my\.cnf|mylogin\.cnf|git-credentials|vault-token|npmrc|pypirc|boto)"
    r"|.*/\.(?:s3cfg|passwd-s3fs|dockercfg|msmtprc|fetchmailrc|terraformrc|erlang\.cookie)"
    r"|.*/\.(?:Xauthority|ICEauthority|vnc/passwd|aws/credentials|docker/config\.json|kube/config)"
    r"|.*/\.(?:terraform\.d/credentials.*|cargo/credentials(?:\.toml)?|gem/credentials)"
    r"|.*/\.(?:m2/settings.*\.xml|gradle/gradle\.properties|(?:config/)?composer/auth\.json)"
    r"|.*/\.config/(?:gcloud|sops|rclone|gh|hub|hcloud|doctl|borg)(?:/.+)?"
    r"|.*/\.config/containers/auth\.json"
    r"|.*\.(?:p12|pfx|jks|keytab|kdbx|ppk|agekey|tfstate(?:\.backup)?)",
    re.DOTALL,
)
_BEGINNING_BYTES = 64
_MARKS = re.compile(
    rb"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY( BLOCK)?-----"
    rb"|-----BEGIN OpenVPN Static key"
    # The same in base64, but for certificates and public keys.
    rb"|LS0tLS1CRUdJTi(?!BDRVJUSUZJQ0FUR|BQVUJMSUMg)"
    rb"|PuTTY-User-Key-File-"
    rb"|AGE-SECRET-KEY-1"
    rb"|(?m:^[ \t]*+(?:PrivateKey|PresharedKey)[ \t]*+=)"
    rb"|client-key-data:"
    rb"|(?m:^[ \t]*+wpa-psk[ \t])"
    rb"|\"auths?\"[ \t]*+:[ \t]*+(?:\"[A-Za-z0-9+/=]{8}|\{[ \t\r\n]*+\")"
    rb"|\b(AKIA|ASIA)[A-Z0-9]{16}\b"
    rb"|\bAIza[A-Za-z0-9_-]{35}"
    rb"|\bgh[pousr]_[A-Za-z0-9]{36}"
    rb"|\bgithub_pat_[A-Za-z0-9_]{60}"
    rb"|\bglpat-[A-Za-z0-9_-]{20}"
    rb"|\bxox[abprs]-[A-Za-z0-9-]{20}"
    rb"|\bnpm_[A-Za-z0-9]{36}|\bpypi-[A-Za-z0-9_-]{40}|\bsk_live_[A-Za-z0-9]{16}"
    rb"|\beyJ[A-Za-z0-9_-]{10,400}\.eyJ[A-Za-z0-9_-]{10}"
    rb"|\$ANSIBLE_VAULT;"
    # Passwords: hashed as crypt and htpasswd do, in addresses, and in settings.
    rb"|\$(?:apr1|2[abxy]|5|6|7|y|gy|argon2id?)\$[^\s$:]{1,40}\$[./A-Za-z0-9]{20}"
    rb"|://[^\s/:@\"']{1,64}:[^\s/@\"'$%{<]{4,128}@"
    rb"|define\([ \t]*+['\"][A-Z_]{0,40}PASSWORD['\"][ \t]*+,[ \t]*+['\"][^'\"]"
)


def secret_in(path: str, content: bytes) -> str | None:
    """Return why a file is taken for a secret, None when it is not."""
    if _PLACES.fullmatch(path):
        return "secrets are kept at such places, and none is ever copied"
    text = _narrowed(content)
    if _MARKS.search(text) or password_in(text):
        return "it holds a key or a token, and none is ever copied"
    return None


def _narrowed(content: bytes) -> bytes:
    """Return a text of two bytes a letter as one of a byte each, any other as it is."""
    marked = content.startswith((b"\xff\xfe", b"\xfe\xff"))
    begins = content[:_BEGINNING_BYTES]
    if b"\0" in begins and (marked or not all(begins[at::2].strip(b"\0") for at in (0, 1))):
        content = content.replace(b"\0", b"")
    return re.sub(rb"\A(?:\xff\xfe|\xfe\xff|\xef\xbb\xbf)", b"", content)
