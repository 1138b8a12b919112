# SPDX-License-Identifier: MIT
"""Checks a Varlink interface definition against the grammar of varlink.org/Interface-Definition: names are
well-formed and unique, types that are used exist. Speaks TAP; also tries definitions that must be refused."""
import re
import sys

TOKEN = re.compile(r"\s+|#[^\n]*|(->|\[\]|\[string\]|[(),:?]|[A-Za-z0-9_.-]+)")
INTERFACE = re.compile(r"[A-Za-z](-*[A-Za-z0-9])*(\.[A-Za-z0-9](-*[A-Za-z0-9])*)+")
MEMBER = re.compile(r"[A-Z][A-Za-z0-9]*")
FIELD = re.compile(r"[A-Za-z](_?[A-Za-z0-9])*")
BASIC = {"bool", "int", "float", "string", "object"}


class Bad(Exception):
    pass


class Definition:
    def __init__(self, text):
        self.tokens, self.used, self.members = list(self.split(text)), set(), {}
        self.expect("interface")
        self.name(INTERFACE, "interface")
        while self.tokens:
            self.member()
        types = {name for name, kind in self.members.items() if kind == "type"}
        if self.used - types:
            raise Bad(f"no such type: {', '.join(sorted(self.used - types))}")

    @staticmethod
    def split(text):
        at = 0
        while at < len(text):
            m = TOKEN.match(text, at)
            if not m:
                raise Bad(f"unexpected {text[at]!r}")
            if m[1]:
                yield m[1]
            at = m.end()

    def next(self):
        if not self.tokens:
            raise Bad("unexpected end")
        return self.tokens.pop(0)

    def accept(self, token):
        if self.tokens[:1] != [token]:
            return False
        self.tokens.pop(0)
        return True

    def expect(self, token):
        got = self.next()
        if got != token:
            raise Bad(f"{got!r} where {token!r} belongs")

    def name(self, pattern, what):
        got = self.next()
        if not pattern.fullmatch(got):
            raise Bad(f"{got!r} is no name of a {what}")
        return got

    def member(self):
        kind = self.next()
        if kind not in ("type", "method", "error"):
            raise Bad(f"{kind!r} where a type, method or error belongs")
        name = self.name(MEMBER, kind)
        if name in self.members:
            raise Bad(f"{name} is defined twice")
        self.members[name] = kind
        self.struct(enum=kind == "type")
        if kind == "method":
            self.expect("->")
            self.struct(enum=False)

    def struct(self, enum):
        """Fields with types, or (an enum) names alone; not a mixture."""
        self.expect("(")
        names, typed = set(), None
        while not self.accept(")"):
            if names:
                self.expect(",")
            name = self.name(FIELD, "field")
            if name in names:
                raise Bad(f"field {name} twice")
            names.add(name)
            has_type = self.accept(":")
            if typed not in (None, has_type) or not (has_type or enum):
                raise Bad(f"field {name} without or with a type")
            typed = has_type
            if has_type:
                self.type()

    def type(self):
        if self.accept("?") and self.tokens[:1] == ["?"]:
            raise Bad("?? is no type")
        if self.accept("[]") or self.accept("[string]"):
            return self.type()
        if self.tokens[:1] == ["("]:
            return self.struct(enum=True)
        name = self.next()
        if name not in BASIC:
            if not MEMBER.fullmatch(name):
                raise Bad(f"{name!r} is no type")
            self.used.add(name)


REFUSED = [
    "", "interface dibs", "interface org.dibs method x() -> ()", "interface org.dibs method X()",
    "interface org.dibs method X(a) -> ()", "interface org.dibs method X(a: Int) -> ()",
    "interface org.dibs method X(a: int, a: int) -> ()", "interface org.dibs method X(a: int b: int) -> ()",
    "interface org.dibs method X(a: ??int) -> ()", "interface org.dibs method X(a__b: int) -> ()",
    "interface org.dibs type T (a, b: int)", "interface org.dibs type T (a) error T ()",
    "interface org.dibs type T (a: integer)", "interface org.dibs error E (a: int", "interface org.dibs error E {}",
    "interface org.dibs error E () method X() -> (e: E)",
]


def main(path):
    failures = 0
    try:
        with open(path, encoding="utf-8") as f:
            kinds = list(Definition(f.read()).members.values())
        print(f"ok 1 - {', '.join(f'{kinds.count(k)} {k}s' for k in ('type', 'method', 'error'))}")
    except Bad as e:
        print(f"not ok 1 - {path}: {e}")
        failures += 1
    for i, text in enumerate(REFUSED, 2):
        try:
            Definition(text)
            print(f"not ok {i} - accepted {text!r}")
            failures += 1
        except Bad as e:
            print(f"ok {i} - {e}")
    print(f"1..{len(REFUSED) + 1}")
    return failures != 0


sys.exit(main(sys.argv[1]))
