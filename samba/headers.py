#!/usr/bin/env python3
"""Makes the headers that Samba's build generates and a VFS module includes, and a config.h, without
running that build.

    headers.py SAMBA_SOURCE OUT

config.h is good for reading smbd's headers on 64-bit Linux with glibc: every feature macro that they
test is decided by what the system has. No structure of theirs depends on the rest of it.
"""

import glob
import os
import re
import subprocess
import sys

SOURCE, OUT = (os.path.abspath(path) for path in sys.argv[1:3])


def out(*parts):
    path = os.path.join(OUT, *parts)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    return path


def source(*parts):
    return os.path.join(SOURCE, *parts)


def run(*command, **options):
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, **options)


def parameters():
    """lp_* accessors, from the manual of smb.conf; its entities matter for the text alone."""
    whole = source("docs-xml/smbdotconf/parameters.all.xml")
    if not os.path.exists(whole):
        whole = out("parameters.all.xml")
        with open(whole, "w") as xml:
            xml.write('<samba:parameterlist xmlns:samba="http://www.samba.org/samba/DTD/samba-doc">\n')
            for part in sorted(glob.glob(source("docs-xml/smbdotconf/*/*.xml"))):
                with open(part, errors="replace") as text:
                    xml.write(re.sub(r"&[\w.-]*;|<\?xml[^>]*\?>", " ", text.read()))
            xml.write("</samba:parameterlist>\n")
    script = source("script/generate_param.py")
    for path, options in (
        ("lib/param/param_local.h", ["--mode=PARAMDEFS", "--scope=LOCAL"]),
        ("source3/param/param_proto.h", ["--mode=S3PROTO"]),
    ):
        run(sys.executable, script, "--file", whole, "--output", out(path), *options)


def errors(script, table, header):
    """The scripts' number of outputs grew over the versions; the header is the first."""
    if os.path.exists(source(header)):
        return
    made = out(header)
    for others in (2, 3, 1):
        command = [sys.executable, script, source(table), made] + ["/dev/null"] * others
        subprocess.run(
            command, cwd=source("source4/scripting/bin"), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        if os.path.exists(made) and os.path.getsize(made):
            return
    sys.exit(f"headers.py: cannot make {header}")


def interfaces():
    """Structures of Samba's IDL, by its own compiler."""
    directory = source("librpc/idl")
    environment = dict(os.environ, CC="gcc", CPP="gcc -E")
    where = os.path.dirname(out("librpc/gen_ndr/misc.h"))
    pidl = ["perl", source("pidl/pidl"), "--quiet", f"--includedir={SOURCE}", f"--includedir={directory}"]
    for name in "file_id misc security server_id smb2_lease_struct smb_acl smb3posix".split():
        if os.path.exists(os.path.join(directory, name + ".idl")):
            run(*pidl, "--header", "--outputdir", where, "--", name + ".idl", cwd=directory, env=environment)
    run(*pidl, "--ndr-parser", "--outputdir", where, "--", "misc.idl", cwd=directory, env=environment)
    # Where they were made is written into them, and they will be moved.
    for path in glob.glob(os.path.join(where, "*.h")):
        with open(path) as header:
            text = header.read()
        with open(path, "w") as header:
            header.write(text.replace(f'"{OUT}/', '"'))


def forwarders():
    """Public names by which the generated headers include others."""
    for name in "ntstatus werror doserr hresult error".split():
        with open(out("core", name + ".h"), "w") as header:
            header.write(f'#include "libcli/util/{name}.h"\n')
    with open(out("ndr.h"), "w") as header:
        header.write('#include "librpc/ndr/libndr.h"\n')


READ = """lib/replace lib/replace/system lib/util lib/util/charset source3/include source3/smbd
source3/lib source3/locking source3/param libcli/smb libcli/util libds/common librpc/ndr dynconfig"""

# Libraries that must not be pulled in, and what only BSD has.
NEVER = set(
    "HAVE_KRB5_H HAVE_LDAP_H HAVE_LBER_H HAVE_COM_ERR_H HAVE_CUPS HAVE_GSSAPI_H HAVE_READLINE_H "
    "HAVE_VALGRIND_MEMCHECK_H HAVE_VALGRIND_VALGRIND_H HAVE_BSD_STRING_H HAVE_BSD_UNISTD_H".split()
)

SIZES = dict(
    BOOL=1, CHAR=1, SHORT=2, INT=4, LONG=8, LONG_LONG=8, SIZE_T=8, SSIZE_T=8, OFF_T=8, INO_T=8,
    DEV_T=8, TIME_T=8, VOID_P=8, BLKCNT_T_8=1,
)

ALWAYS = dict(
    CONFIG_H_IS_FROM_SAMBA=1, LINUX=1, WITH_SMB1SERVER=1, WITH_PROFILE=1, STDC_HEADERS=1,
    TIME_WITH_SYS_TIME=1, _SAMBA_BUILD_=3, LIBREPLACE_NETWORK_CHECKS=1, offset_t="loff_t",
)

# Types, members, declarations and attributes: no symbol of libc tells of them; glibc has them all.
GLIBC = """BOOL _Bool BOOL_TYPE LONG_LONG INTPTR_T UINTPTR_T PTRDIFF_T SIG_ATOMIC_T_TYPE SA_FAMILY_T
SOCKLEN_T SOCKADDR_STORAGE STRUCT_SOCKADDR STRUCT_SOCKADDR_STORAGE STRUCT_SOCKADDR_IN6 STRUCT_ADDRINFO
STRUCT_TIMESPEC STRUCT_IFADDRS STRUCT_SIGEVENT STRUCT_STAT_ST_MTIM_TV_NSEC STAT_TV_NSEC STAT_ST_BLOCKS
STAT_ST_BLKSIZE USECONDS_T BLKSIZE_T BLKCNT_T COMPARISON_FN_T SIGHANDLER_T VISIBILITY_ATTR
ATTRIBUTE_COLD CLOCK_GETTIME IPV6 IPV6_V6ONLY SECURE_MKSTEMP SS_FAMILY IMMEDIATE_STRUCTURES
C99_VSNPRINTF INITIALIZE_FALLTHROUGH_ATTRIBUTE FALLTHROUGH_ATTRIBUTE FUNCTION_MACRO func_MACRO MAKEDEV
RTLD_DEFAULT_SYMBOL ERRNO_DECL ENVIRON_DECL GETTIMEOFDAY_TZ TIMEGM UT_UT_NAME STATVFS_F_FLAG DIRFD_DECL
XATTR_SUPPORT XATTR_XATTR __ATTRIBUTE__ SYSTEM_ATTRIBUTES POSIX_ACLS MEMBER_ST_MTIM WORKING_STRPTIME
SOCKETPAIR STRTOLL STRTOULL STRTOQ STRTOUQ DECL_ENVIRON VA_COPY __VA_COPY UNIXSOCKET"""


def gcc(option):
    return subprocess.check_output(["gcc", option], text=True).strip()


def libc_symbols():
    found = set()
    for library in ("libc.so.6", "libm.so.6"):
        path = gcc(f"-print-file-name={library}")
        for line in subprocess.check_output(["nm", "-D", "--defined-only", path], text=True).splitlines():
            found.add(line.split()[-1].split("@")[0])
    return found


def has_header(stem, directories):
    """FOO_BAR may be foo/bar.h or foo_bar.h: every reading is tried."""
    parts = stem.lower().split("_")
    for mask in range(1 << (len(parts) - 1)):
        name = parts[0]
        for place, part in enumerate(parts[1:]):
            name += ("/" if mask >> place & 1 else "_") + part
        if any(os.path.exists(os.path.join(d, name + ".h")) for d in directories):
            return True
    return False


def config():
    wanted = set()
    for directory in READ.split():
        for path in glob.glob(source(directory, "*.h")):
            with open(path, errors="replace") as text:
                for line in text:
                    if re.match(r"\s*#\s*(el)?if", line):
                        wanted |= set(re.findall(r"\bHAVE_\w+", line))
    directories = ["/usr/include", "/usr/include/" + gcc("-print-multiarch"), gcc("-print-file-name=include")]
    symbols = libc_symbols()
    macros = dict(ALWAYS)
    macros.update({"SIZEOF_" + name: size for name, size in SIZES.items()})
    macros.update({"HAVE_" + name: 1 for name in GLIBC.split()})
    for macro in sorted(wanted - NEVER - set(macros)):
        name = macro[len("HAVE_"):]
        if name.endswith("_H"):
            if has_header(name[:-2], directories):
                macros[macro] = 1
        elif name.lower() in symbols or name in symbols:
            macros[macro] = 1
    # Last of all: that it exists says that everything else does.
    with open(out("config.h"), "w") as header:
        header.write("#ifndef ESKER_SAMBA_CONFIG_H\n#define ESKER_SAMBA_CONFIG_H\n")
        for macro, value in sorted(macros.items()):
            header.write(f"#define {macro} {value}\n")
        header.write("#endif\n")


parameters()
errors("gen_ntstatus.py", "libcli/util/ntstatus_err_table.txt", "libcli/util/ntstatus_gen.h")
errors("gen_werror.py", "libcli/util/werror_err_table.txt", "libcli/util/werror_gen.h")
errors("gen_hresult.py", "libcli/util/hresult_err_table.txt", "libcli/util/hresult.h")
interfaces()
forwarders()
config()
