"""A certificate for 127.0.0.1, made for one run with the `openssl` program and signed by itself."""

import ssl
import subprocess
from pathlib import Path


def make(folder: Path) -> tuple[Path, ssl.SSLContext]:
    """Return the file that a client must trust (SSL_CERT_FILE), and the server's TLS context."""
    key, certificate = folder / "key.pem", folder / "certificate.pem"
    options = "-x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2"
    names = ["-subj", "/CN=Kav bench", "-addext", "subjectAltName=IP:127.0.0.1"]
    files = ["-keyout", str(key), "-out", str(certificate)]
    subprocess.run(["openssl", "req", *options.split(), *names, *files], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    return certificate, context
