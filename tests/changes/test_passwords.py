"""Passwords in settings: what sets one, and what only refers to one or speaks of one."""

from __future__ import annotations

import pytest

from scheduler.changes.passwords import password_in
from scheduler.changes.secrets import secret_in
from tests.costs import cpu_seconds

VALUE = "Sup3rSecretValue9"
TOLD = (
    f"DB_PASS={VALUE}",
    f"JWT_SECRET={VALUE}",
    f"API_TOKEN = {VALUE}",
    f"passwd = {VALUE}",
    f"requirepass {VALUE}",
    f'masterauth "{VALUE}"',
    f"Environment=DB_PASSWORD={VALUE}",
    f'Environment="A=1" "DB_PASSWORD={VALUE}"',
    f"Environment='DB_PASSWORD={VALUE}'",
    f'{{"host":"x","password":"{VALUE}"}}',
    f'{{"a":{{"dbPass": "{VALUE}"}}}}',
    f"{{host: x, password: {VALUE}}}",
    f"0 3 * * * PGPASSWORD={VALUE} pg_dump x",
    f"0 3 * * * root mysqldump -p{VALUE} db",
    f"0 3 * * * root mysqldump -p'{VALUE}' db",
    f"mariadb-dump --password={VALUE} x",
    f"sshpass -p {VALUE} ssh x",
    f"sshpass -p '{VALUE}' ssh",
    "DB_PASSWORD=S3cr!t-x",
    "DB_PASSWORD=Pa$$w0rd!2024",
    "DB_PASSWORD='abc/def+123456'",
    "DB_PASSWORD=S3cr(t-x9",
    "DB_PASSWORD=S3%cr3t9",
    "DB_PASSWORD=$ecret!99",
    "SECRET_KEY = 'django-insecure-abcdef(1234'",
    f"url=jdbc:mysql://h/db?user=x&password={VALUE}&a=b",
    f"Server=x;User Id=y;Password={VALUE};",
    f"dsn=host=a password={VALUE}",
    f"<password>{VALUE}</password>",
    f'<user username="t" password="{VALUE}"/>',
    f"$db_password = '{VALUE}';",
    f"  'password' => '{VALUE}',",
    f'password: "{VALUE}"',
    f"- DB_PASS={VALUE}",
    f"export DB_PASS={VALUE}",
    f"ENV DB_PASS={VALUE}",
    f"ENV X=1 DB_PASS={VALUE}",
    f"CREATE USER x IDENTIFIED BY '{VALUE}';",
    f"auth_pass {VALUE}",
    "password=hunterhunter",
    "client_secret = hunterhunter",
    "auth_token = a9f86d081884c7d6",
    "JWT_SECRET = a9f86d081884c7d6",
    "smtpPass: hunter22!",
    f'password = b"{VALUE}"',
    f'password="{"ab1" * 200}"',
    f"secret_key_base: {VALUE}",
)
NOT_TOLD = (
    "passwd:         files systemd",
    "passwd: compat",
    "passwd:files sss",
    "# password = hunter2hunter2",
    "; password=hunter2hunter",
    "// password=hunter2hunter",
    "password\trequired\tpam_unix.so obscure",
    "password\t[success=1 default=ignore]\tpam_unix.so obscure yescrypt",
    "password requisite pam_deny.so",
    "PASS_MAX_DAYS\t99999",
    "PasswordAuthentication yes",
    "PermitEmptyPasswords no",
    "secret_key_file = /etc/app/key",
    "password_file=/x/y",
    "password = ${DB_PASSWORD}",
    "password: {{ secret }}",
    "password = /run/secrets/db",
    'password: "{{ vault_db }}"',
    "password = <your-password>",
    "password = %(db_password)s",
    "PASSWORD=$DB_PASSWORD",
    "PASSWORD=${X:-}",
    "PASS=$(cat /run/x)",
    "password: !vault |",
    "password: &db",
    "password: *dbpass",
    "password: required",
    "password = None",
    "password = getpass.getpass()",
    "password = os.environ['X']",
    "PASSWORD=@DB_PASSWORD@",
    "LoadCredential=password:/etc/x/y",
    "SetCredentialEncrypted=db: abcdefgh",
    "Type: password",
    "password: see the wiki for more",
    "Password: please ask the team",
    "echo enter password: now",
    "see password: hunter2hunter in the wiki",
    "x # password=hunter2hunter",
    "bypass=whatever1",
    "compass = north-west",
    "token = nextchar",
    "pass = through",
    "secret: enabled",
    "max_tokens=4096000",
    "csrf_token: false",
    "requirepass ${PASS}",
    "# requirepass foobared",
    "mkdir -p/srv/mysql",
    "docker run -p3306:3306 mysql",
    "mysql -p db",
    "mysql --protocol=tcp",
    "ssh -p2222 mysql",
    "Pass :meth:`peek` a default",
    "token:x:999:",
    "PASSWORD=********",
    "password = xxxxxxxx",
    '"password": "string"',
    "auth_pass ${X}",
    "<!-- <password>hunter2hunter</password> -->",
    "password_hash_algo = yescrypt",
    "hosts: files dns",
    "password=~/x/y",
    "password=etc/pass.txt",
)


@pytest.mark.parametrize("line", TOLD)
def test_a_setting_that_holds_a_password_is_known(line: str) -> None:
    assert password_in(line.encode())
    assert password_in(f"# a remark\n{line}\n".encode())


@pytest.mark.parametrize("line", NOT_TOLD)
def test_what_refers_to_a_password_or_speaks_of_one_holds_none(line: str) -> None:
    assert not password_in(line.encode())
    assert not password_in(f"one = two\n{line}\n".encode())


def test_a_comment_ends_with_its_line_and_a_name_is_no_longer_than_a_look() -> None:
    assert password_in(f"# password\n[db]\npassword = {VALUE}\n".encode())
    assert password_in(f"<!-- a\nb --><password>{VALUE}</password><!-- ".encode())
    assert password_in(f"a #b={VALUE}\nc password={VALUE}".encode())
    assert not password_in(b"a" * 200 + f"_password={VALUE}".encode())
    assert not password_in(f"<password>{VALUE}<b>".encode())


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_a_password_is_known_in_wider_letters(encoding: str) -> None:
    assert secret_in("/srv/f", f"password={VALUE}\r\n".encode(encoding)) is not None
    assert secret_in("/srv/f", "nothing of that kind\n".encode(encoding)) is None


def test_what_is_no_text_is_read_as_it_is() -> None:
    program = b"\x7fELF\2\1\1" + bytes(9) + b"\2\0>\0\1\0\0\0"
    assert secret_in("/srv/f", program + b"password=\0%s\0more than that\0") is None
    assert secret_in("/srv/f", program + b"-----BEGIN PRIVATE KEY-----") is not None


@pytest.mark.parametrize(
    "flood",
    [
        b"password=\n",
        b"x password=${A} ",
        b'"password":"",',
        b"password=${",
        b"password" + b" " * 100,
        b"mysql -p ",
        b"mysql #",
        b"<!--",
        b"<!---->",
        b"<password>",
        b"pass #",
        b"requirepass ${ ",
        b"token = a.",
        b"pass=$a. ",
        b"\xff\xfe\0",
    ],
)
def test_what_a_flood_of_names_costs_grows_as_its_length(flood: bytes) -> None:
    def seconds(size: int) -> float:
        data = flood * (size // len(flood))
        assert secret_in("/srv/f", data) is None
        return cpu_seconds(lambda: secret_in("/srv/f", data))

    # A floor, since what takes next to no time is measured badly; four times as much is linear.
    assert seconds(256 * 1024) < 8 * max(seconds(64 * 1024), 0.05)
