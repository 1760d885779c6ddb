#!/usr/bin/env python3
"""Names what is too long to be read at one go, and then ends with exit code 1.

    scripts/limits.py

The limits are 500 lines for a source or test (C, CUDA, Python, shell, bats), 60 lines between the
braces of a function or below its `def`, and 100 columns for comments and docstrings.
scripts/format.sh --check asks this too; scripts/check-docs.sh looks at Markdown.

Functions are told by their layout, which clang-format and habit give: they begin at the left edge,
and a brace alone at the left edge ends them.
"""
import argparse
import ast
import io
import pathlib
import re
import subprocess
import sys
import tokenize

FILE_LINES, FUNCTION_LINES, COLUMNS = 500, 60, 100
ROOT = pathlib.Path(__file__).resolve().parent.parent
C = {".c", ".h", ".cc", ".cu", ".cuh"}
SHELL = {".sh", ".bash", ".bats"}
BY_HASH = SHELL | {".cmake", ".txt", ".yaml"}  # comments are lines that begin with a hash


def kind_of(path, text):
    """The suffix, or that of the language that the first line names."""
    interpreter = re.match(r"#!.*\b(python3|bash|bats)$", text.split("\n", 1)[0])
    if path.suffix or not interpreter:
        return path.suffix
    return {"python3": ".py", "bash": ".sh", "bats": ".bats"}[interpreter[1]]


def braced_functions(lines):
    """(line, name, length) of functions of C and shell."""
    start = opened = None
    for number, line in enumerate(lines, 1):
        if line == "}" and opened:
            yield start, lines[start - 1].rstrip("{ "), number - opened - 1
            start = opened = None
        elif re.match(r"[A-Za-z@_]", line) and not re.match(r"\w+:$", line) and line[-1] != ";":
            start, opened = number, number if line[-1] == "{" else None
        elif start and not opened and line.endswith("{"):
            opened = number  # behind parameters on lines of their own


def python_functions(text):
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            yield node.lineno, node.name, node.end_lineno - node.lineno


def python_prose(text):
    """(line, column where it ends) of comments and docstrings."""
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            yield token.end
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)) and ast.get_docstring(node):
            first = node.body[0]
            for number in range(first.lineno, first.end_lineno + 1):
                yield number, len(text.split("\n")[number - 1])


def prose(kind, lines, text):
    if kind == ".py":
        return python_prose(text)
    begins = r"\s*#" if kind in BY_HASH else r"\s*(/\*|\*|//)" if kind in C else "(?!)"
    return ((n, len(line)) for n, line in enumerate(lines, 1) if re.match(begins, line))


def faults(path, text):
    """(line, what is wrong)"""
    kind, lines = kind_of(path, text), text.split("\n")
    functions = []
    if kind in C | SHELL:
        functions = braced_functions(lines)
    elif kind == ".py":
        functions = python_functions(text)
    if kind in C | SHELL | {".py"} and len(lines) - 1 > FILE_LINES:
        yield 1, f"{len(lines) - 1} lines; {FILE_LINES} at most"
    for number, name, length in functions:
        if length > FUNCTION_LINES:
            yield number, f"{name}: {length} lines; {FUNCTION_LINES} at most"
    for number, column in set(prose(kind, lines, text)):
        if column > COLUMNS:
            yield number, f"prose of {column} columns; {COLUMNS} at most"


def main():
    argparse.ArgumentParser(description=__doc__,
                            formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    listed = subprocess.run(["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
                            cwd=ROOT, capture_output=True, text=True, check=True)
    found = False
    for name in listed.stdout.split("\0"):
        path = ROOT / name
        if not path.is_file():
            continue
        try:
            text = path.read_text()
        except UnicodeDecodeError:
            continue  # no text
        for number, what in sorted(faults(path, text)):
            print(f"{name}:{number}: {what}", file=sys.stderr)
            found = True
    return found


sys.exit(main())
