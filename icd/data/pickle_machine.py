"""The machine that reads a pickle opcode by opcode, for `icd.data.restricted_pickle`."""
from __future__ import annotations

import collections
import pickletools
from typing import Any, BinaryIO

import numpy as np

from icd.errors import printable

_MARK = object()
_LONGEST_NUMBER = 4000          # digits; Python takes a time that is quadratic in them
_IN_NUMBERS = b'0123456789_+-L \t\r\n'
_KEYS = str, bytes, int, float, type(None), np.generic          # tuples hash for ever, or until the stack is used up
_CONSTANTS = {'NONE': None, 'NEWTRUE': True, 'NEWFALSE': False}
_EMPTY = {'EMPTY_DICT': dict, 'EMPTY_LIST': list, 'EMPTY_TUPLE': tuple}
_VALUES = {'INT', 'BININT', 'BININT1', 'BININT2', 'LONG', 'LONG1', 'LONG4', 'STRING', 'BINSTRING', 'SHORT_BINSTRING',
           'BINBYTES', 'SHORT_BINBYTES', 'BINBYTES8', 'BYTEARRAY8', 'UNICODE', 'SHORT_BINUNICODE', 'BINUNICODE',
           'BINUNICODE8', 'FLOAT', 'BINFLOAT'}
_IGNORED = {'PROTO', 'FRAME', 'READONLY_BUFFER'}


class Unfinished:
    """What a function of `load` returns when the pickle gives it a state afterwards: `finish(state)` is the value."""

    def finish(self, state: Any) -> Any:
        raise NotImplementedError


class Machine:
    """The stack, the marks and the memory of a pickle."""

    def __init__(self, allowed, persistent):
        self.allowed, self.persistent = allowed, persistent
        self.stack, self.memory, self.numbers = [], {}, collections.defaultdict(list)

    def run(self, stream: BinaryIO) -> Any:
        """Execute a pickle; its value. Raises all kinds of errors where it is damaged."""
        for opcode, argument, _ in pickletools.genops(_Lines(stream)):
            if opcode.name == 'STOP':
                return self.pop()
            if opcode.name not in _IGNORED:
                self.step(opcode.name, argument)

    def pop_to_mark(self):
        start = len(self.stack) - 1
        while self.stack[start] is not _MARK:
            start -= 1
            if start < 0:
                raise ValueError('it takes more values than it has')
        values = self.stack[start + 1:]
        del self.stack[start:]
        return values

    def pop(self):
        value = self.stack.pop()
        if value is _MARK:
            raise ValueError('a mark stands where a value should')
        return value

    def put(self, number):
        self.memory[number] = self.stack[-1]
        self.numbers[id(self.stack[-1])].append(number)

    def named(self, module, name):
        if (module, name) not in self.allowed:
            raise ValueError(f'it names {printable(module)}.{printable(name)}, which is not allowed')
        self.stack.append(_Function(self.allowed[module, name]))

    def call(self, function, arguments):
        if not isinstance(function, _Function) or not isinstance(arguments, tuple):
            raise ValueError('it calls what is no function')
        self.stack.append(function.function(*arguments))

    def build(self):
        state, unfinished = self.pop(), self.pop()
        if isinstance(unfinished, collections.OrderedDict):             # its attributes: torch's `_metadata`
            finished = unfinished
        elif isinstance(unfinished, Unfinished):
            finished = unfinished.finish(state)
        else:
            raise ValueError(f'it changes a {type(unfinished).__name__}')
        self.stack.append(finished)
        for number in self.numbers.pop(id(unfinished), ()):
            if self.memory[number] is unfinished:
                self.memory[number] = finished
                self.numbers[id(finished)].append(number)

    def set_items(self, items):
        target = self.stack[-1]
        if not isinstance(target, dict) or len(items) % 2:
            raise ValueError('it gives items to what is no dictionary')
        target.update(dictionary(items[::2], items[1::2]))

    def append(self, values):
        if not isinstance(self.stack[-1], list):
            raise ValueError('it appends to what is no list')
        self.stack[-1].extend(values)

    def persistent_value(self, value):
        if self.persistent is None:
            raise ValueError('it refers to something outside')
        self.stack.append(self.persistent(value))

    def step(self, name, argument):
        """Execute one opcode."""
        if name in _VALUES:
            self.stack.append(argument)
        elif name in ('BINPUT', 'LONG_BINPUT', 'PUT'):
            self.put(argument)
        elif name == 'MEMOIZE':
            self.put(len(self.memory))
        elif name in ('BINGET', 'LONG_BINGET', 'GET'):
            self.stack.append(self.memory[argument])
        elif name == 'MARK':
            self.stack.append(_MARK)
        elif name in _CONSTANTS:
            self.stack.append(_CONSTANTS[name])
        elif name in _EMPTY:
            self.stack.append(_EMPTY[name]())
        elif name in ('TUPLE1', 'TUPLE2', 'TUPLE3'):
            self.stack.append(tuple([self.pop() for _ in range(int(name[-1]))][::-1]))
        else:
            _RARER[name](self, argument)


class _Function:
    """A function a pickle may call: nothing on the stack of a pickle is itself callable."""

    def __init__(self, function):
        self.function = function


def dictionary(keys, values):
    wrong = [key for key in keys if not isinstance(key, _KEYS)]
    if wrong:
        raise ValueError(f'a {type(wrong[0]).__name__} is the key of a dictionary')
    return dict(zip(keys, values))


def _two(machine):
    second = machine.pop()
    return machine.pop(), second


def _dict(machine, _):
    items = machine.pop_to_mark()
    machine.stack.append(dictionary(items[::2], items[1::2]))


def _stack_global(machine, _):
    module, name = _two(machine)
    if not isinstance(module, str) or not isinstance(name, str):
        raise ValueError('it names what is no text')
    machine.named(module, name)


def _set_item(machine, _):
    machine.set_items(list(_two(machine)))


_RARER = {
    'TUPLE': lambda machine, _: machine.stack.append(tuple(machine.pop_to_mark())),
    'LIST': lambda machine, _: machine.stack.append(machine.pop_to_mark()),
    'DICT': _dict,
    'APPEND': lambda machine, _: machine.append([machine.pop()]),
    'APPENDS': lambda machine, _: machine.append(machine.pop_to_mark()),
    'SETITEM': _set_item,
    'SETITEMS': lambda machine, _: machine.set_items(machine.pop_to_mark()),
    'POP': lambda machine, _: machine.stack.pop(),
    'POP_MARK': lambda machine, _: machine.pop_to_mark(),
    'DUP': lambda machine, _: machine.stack.append(machine.stack[-1]),
    'GLOBAL': lambda machine, argument: machine.named(*argument.split(' ', 1)),
    'STACK_GLOBAL': _stack_global,
    'REDUCE': lambda machine, _: machine.call(*_two(machine)),
    'NEWOBJ': lambda machine, _: machine.call(*_two(machine)),
    'BUILD': lambda machine, _: machine.build(),
    'PERSID': lambda machine, argument: machine.persistent_value(argument),
    'BINPERSID': lambda machine, _: machine.persistent_value(machine.pop()),
}


class _Lines:
    """A stream without long numbers."""

    def __init__(self, stream):
        self.read, self._readline = stream.read, stream.readline
        self.tell = stream.tell

    def readline(self):
        line = self._readline()
        if len(line) > _LONGEST_NUMBER and not line.strip(_IN_NUMBERS):
            raise ValueError('it holds a number that is too long')
        return line
