r"""Commands that take a password by a flag of their own: beside another command the same flag means something else.

Manuals: sqlcmd and bcp (https://learn.microsoft.com/sql/tools/sqlcmd/sqlcmd-utility), `net use`, `cmdkey`
(https://learn.microsoft.com/windows-server/administration/windows-commands/), `docker login`
(https://docs.docker.com/reference/cli/docker/login/), mysql(1), mysqladmin(1), sshpass(1), redis-cli(1), mongosh,
twine, ldapsearch(1), smbclient(1), mosquitto_pub(1), ipmitool(1), htpasswd(1), rabbitmqctl(8), cqlsh, PsExec, SQL*Plus,
and openssl-passphrase-options(1).
"""

from typing import Final

__all__ = ["BEHIND_COMMAND", "COMMANDS", "NAMES"]

_NEXT: Final = r"""[\s,"'\\]{1,12}+"""
_ARGUMENT: Final = r"""[^\s,"'\\|;&]{1,64}+"""
"""Of a command line, or of the list that it is printed as: what parts two arguments (`~`), and one of them (`#`)."""
_SHARE: Final = r"\\{2,8}+[^\s\"'\\]{1,64}+\\{1,8}+[^\s\"'\\]{1,64}+"

COMMANDS: Final = (
    ("(?i:mysql|mariadb)[a-z]{0,8}+~", "(?:#~){0,8}?-p"),
    ("(?i:mysqladmin)~", "(?:#~){0,8}?password~"),
    ("(?i:sshpass)~", "-p(?:~)?+"),
    ("(?i:redis-cli)~", "(?:#~){0,8}?-a~"),
    ("(?i:login)~", "(?:#~){0,6}?-p(?:=|~)"),
    ("(?i:mongo[a-z]{0,8}+|twine)~", "(?:#~){0,8}?-p(?:=|~)?+"),
    ("(?i:ldap)[a-z]{3,8}+~", "(?:#~){0,8}?-w~"),
    ("-pass(?:in|out)?+~", "pass:"),
    ("(?i:sqlcmd|osql|bcp|mssql-cli|mosquitto_[a-z]{3}|ipmitool)~", "(?:#~){0,12}?-P(?:=|~)?+"),
    ("(?i:cqlsh|psexec(?:64)?)(?:\\.exe)?~", "(?:#~){0,8}?-p~"),
    ("(?i:smbclient)~", "(?:#~){0,8}?-U(?:~)?[^\\s\"'%]{1,64}+%"),
    ("(?i:cmdkey)(?:\\.exe)?~", "(?:#~){0,8}?/pass:"),
    ("(?i:net\\suse)~", "(?:#~){0,8}?/(?i:user):[^\\s\"']{1,128}+~(?!/)"),
    (
        "(?i:net\\suse)\\s{1,8}+",
        rf"(?:(?:[A-Za-z]:|\*)\s{{1,8}}+)?{_SHARE}~(?!/)(?=[^\s]{{1,256}}+~/(?i:user):)",
    ),
    ("(?i:htpasswd)~", "-[A-Za-z]{0,4}b[A-Za-z]{0,4}+~#~#~"),
    ("(?i:rabbitmqctl)~", "(?:-#~(?:#~)?){0,2}(?:add_user|change_password|authenticate_user)~#~"),
    ("(?i:sqlplus)~", "(?:-#~){0,4}[^\\s/\"'@]{1,64}+/(?=[^\\s/\"'@]{1,128}+@)"),
)
"""Each command, and what stands between it and the password."""
NAMES: Final = (
    "mysql", "mariadb", "sshpass", "redis-cli", "mongo", "login", "twine", "ldap", "-pass", "sqlcmd", "osql", "bcp ",
    "mssql-cli", "mosquitto", "ipmitool", "cqlsh", "psexec", "smbclient", "cmdkey", "net use",
    "htpasswd", "rabbitmqctl", "sqlplus",
)  # fmt: skip
"""What they begin with; one of these stands where the expression begins."""


def _expression(command: str, between: str) -> str:
    return (command + between).replace("~", _NEXT).replace("#", _ARGUMENT)


BEHIND_COMMAND: Final = f"(?>{'|'.join(_expression(*one) for one in COMMANDS)})"
