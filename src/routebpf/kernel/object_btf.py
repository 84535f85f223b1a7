"""The BTF of an object in the kernel. kernel: kernel/bpf/btf.c, btf_new_fd()."""

from __future__ import annotations

import ctypes
import errno

from routebpf.errors import MissingError, RejectedError
from routebpf.kernel.handle import Handle
from routebpf.kernel.permission import permission_error
from routebpf.kernel.syscall import BtfById, BtfInfoStruct, BtfLoad, bpf, buffer, fill_info
from routebpf.objects.btf import Btf
from routebpf.objects.btf_placement import btf_for_kernel

NEEDS = {"CAP_BPF": "to load BTF"}
_LOG_BYTES = 1 << 16


def load_btf(btf: Btf) -> Handle:
    """Give BTF to the kernel. Raises RejectedError with the kernel's log for BTF that it does not take."""
    data = buffer(btf_for_kernel(btf))
    attributes = BtfLoad(btf=ctypes.addressof(data), btf_size=len(data))
    try:
        return Handle(bpf(attributes))
    except OSError as error:
        if error.errno == errno.EPERM:
            raise permission_error(f"{btf.where}: load into the kernel", NEEDS) from error
        refusal = error
    log = buffer(_LOG_BYTES)
    attributes.btf_log_buf, attributes.btf_log_size, attributes.btf_log_level = ctypes.addressof(log), _LOG_BYTES, 1
    try:
        return Handle(bpf(attributes))
    except OSError:
        text = log.value.decode(errors="replace")
    lines = [line for line in text.splitlines() if line]
    said = lines[-1] if lines else refusal.strerror
    raise RejectedError(f"{btf.where}: the kernel does not take it: {said}", log=text) from refusal


def read_btf(btf_id: int) -> Btf:
    """The BTF with this id, which some object brought. Raises MissingError without CAP_SYS_ADMIN."""
    what = f"read BTF {btf_id} from the kernel"
    try:
        with Handle(bpf(BtfById(id=btf_id))) as handle:
            info = BtfInfoStruct()
            fill_info(handle.fd, info)
            data = buffer(info.btf_size)
            info = BtfInfoStruct(btf=ctypes.addressof(data), btf_size=len(data))
            fill_info(handle.fd, info)
    except OSError as error:
        if error.errno == errno.EPERM:
            raise permission_error(what, {"CAP_SYS_ADMIN": "to open BTF by its id"}) from error
        raise MissingError(f"{what}: {error.strerror}") from error
    return Btf(data.raw, where=f"BTF {btf_id} of the kernel")
