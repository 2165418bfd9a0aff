"""The standard-library modules whose docstrings make the demo collection.

Every module here exists in Python 3.11, 3.12 and 3.13 and does nothing on import. The order matters: an
object that several modules offer belongs to the first module that lists it (`collection.py`).
"""

from __future__ import annotations

# fmt: off
MODULES = (
    "builtins", "os.path", "os", "io", "pathlib", "shutil", "glob", "fnmatch", "tempfile", "filecmp",
    "fileinput", "linecache", "stat", "string", "re", "textwrap", "difflib", "unicodedata", "codecs",
    "html", "html.parser", "html.entities", "shlex", "pprint", "reprlib", "locale", "gettext", "math",
    "cmath", "decimal", "fractions", "statistics", "random", "secrets", "numbers", "operator", "colorsys",
    "collections", "collections.abc", "itertools", "functools", "heapq", "bisect", "array", "copy",
    "enum", "dataclasses", "types", "typing", "weakref", "graphlib", "queue", "contextlib", "contextvars",
    "abc", "datetime", "calendar", "time", "zoneinfo", "sched", "timeit", "json", "csv", "configparser",
    "tomllib", "plistlib", "pickle", "pickletools", "copyreg", "shelve", "struct", "base64", "binascii",
    "quopri", "marshal", "xml.etree.ElementTree", "xml.dom.minidom", "xml.sax", "xml.sax.saxutils",
    "xml.sax.handler", "zipfile", "tarfile", "gzip", "hashlib", "hmac", "uuid", "subprocess", "threading",
    "multiprocessing", "multiprocessing.pool", "multiprocessing.shared_memory",
    "multiprocessing.managers", "multiprocessing.connection", "concurrent.futures", "asyncio", "signal",
    "select", "selectors", "socket", "socketserver", "urllib.parse", "urllib.request", "urllib.error",
    "urllib.robotparser", "http", "http.client", "http.server", "http.cookies", "http.cookiejar",
    "ftplib", "smtplib", "imaplib", "poplib", "xmlrpc.client", "xmlrpc.server", "ipaddress", "mimetypes",
    "netrc", "webbrowser", "email", "email.message", "email.policy", "email.parser", "email.generator",
    "email.utils", "email.header", "email.headerregistry", "email.mime.text", "email.mime.multipart",
    "email.mime.image", "mailbox", "argparse", "optparse", "getopt", "getpass", "cmd", "logging",
    "logging.handlers", "logging.config", "platform", "sys", "sysconfig", "atexit", "warnings",
    "traceback", "inspect", "ast", "dis", "tokenize", "token", "keyword", "symtable", "code", "codeop",
    "gc", "tracemalloc", "faulthandler", "importlib", "importlib.metadata", "importlib.resources",
    "importlib.util", "importlib.machinery", "pkgutil", "runpy", "compileall", "py_compile", "zipimport",
    "zipapp", "venv", "site", "unittest", "unittest.mock", "doctest", "cProfile", "profile", "pstats",
    "trace", "pdb", "bdb", "wave", "errno",
)

# Left out where the interpreter was built without them or the platform has none.
OPTIONAL_MODULES = (
    "sqlite3", "ssl", "zlib", "bz2", "lzma", "mmap", "resource", "pwd", "fcntl",
)
# fmt: on
