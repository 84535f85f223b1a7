"""What the kernel promises, as data: context fields, helpers, kfuncs, map types, program types, return codes.

The tables are read at the first use of a name, so importing this costs nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from routebpf import importer

if TYPE_CHECKING:
    from routebpf.spec.arguments import ArgKind as ArgKind
    from routebpf.spec.arguments import ArgType as ArgType
    from routebpf.spec.arguments import Argument as Argument
    from routebpf.spec.arguments import Extent as Extent
    from routebpf.spec.arguments import ReturnKind as ReturnKind
    from routebpf.spec.arguments import ReturnType as ReturnType
    from routebpf.spec.arguments import TypeFlag as TypeFlag
    from routebpf.spec.context import CONTEXT_BYTES as CONTEXT_BYTES
    from routebpf.spec.context import CONTEXT_FIELDS as CONTEXT_FIELDS
    from routebpf.spec.context import ContextField as ContextField
    from routebpf.spec.context import Register as Register
    from routebpf.spec.context import context_accesses as context_accesses
    from routebpf.spec.helper_row import Helper as Helper
    from routebpf.spec.helpers import HELPERS as HELPERS
    from routebpf.spec.helpers import helper_by_id as helper_by_id
    from routebpf.spec.helpers import helper_by_name as helper_by_name
    from routebpf.spec.helpers import helper_name as helper_name
    from routebpf.spec.helpers import helper_number as helper_number
    from routebpf.spec.kfunc_row import Kfunc as Kfunc
    from routebpf.spec.kfunc_row import KfuncArgKind as KfuncArgKind
    from routebpf.spec.kfunc_row import KfuncArgument as KfuncArgument
    from routebpf.spec.kfunc_row import KfuncFlag as KfuncFlag
    from routebpf.spec.kfuncs import KFUNCS as KFUNCS
    from routebpf.spec.kfuncs import kfunc_by_name as kfunc_by_name
    from routebpf.spec.map_types import MAP_TYPES as MAP_TYPES
    from routebpf.spec.map_types import MapType as MapType
    from routebpf.spec.map_types import map_type_by_number as map_type_by_number
    from routebpf.spec.program_types import LWT as LWT
    from routebpf.spec.program_types import PROGRAM_TYPES as PROGRAM_TYPES
    from routebpf.spec.program_types import RETURN_CODES as RETURN_CODES
    from routebpf.spec.program_types import ProgramType as ProgramType
    from routebpf.spec.program_types import ReturnCode as ReturnCode
    from routebpf.spec.program_types import program_type_number as program_type_number

_MODULES = {
    "arguments": ("ArgKind", "ArgType", "Argument", "Extent", "ReturnKind", "ReturnType", "TypeFlag"),
    "context": ("CONTEXT_BYTES", "CONTEXT_FIELDS", "ContextField", "Register", "context_accesses"),
    "helper_row": ("Helper",),
    "helpers": ("HELPERS", "helper_by_id", "helper_by_name", "helper_name", "helper_number"),
    "kfunc_row": ("Kfunc", "KfuncArgKind", "KfuncArgument", "KfuncFlag"),
    "kfuncs": ("KFUNCS", "kfunc_by_name"),
    "map_types": ("MAP_TYPES", "MapType", "map_type_by_number"),
    "program_types": ("LWT", "PROGRAM_TYPES", "RETURN_CODES", "ProgramType", "ReturnCode", "program_type_number"),
}
_PLACES = {name: module for module, names in _MODULES.items() for name in names}
__all__ = sorted(_PLACES)


__getattr__ = importer(__name__, _PLACES)
