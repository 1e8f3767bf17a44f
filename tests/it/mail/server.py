"""A mail server for the tests: aiosmtpd, by the rules that the recipients' names ask for.

Prints its port. Each line on standard output after that is a JSON object: a command that was given, or a mail.
"""

import argparse
import asyncio
import json
import ssl
import sys
import threading

from aiosmtpd.smtp import SMTP, AuthResult


def say(**what):
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


def is_tls(server, session):
    return session.ssl is not None or server.transport.get_extra_info("ssl_object") is not None


class Handler:
    def __init__(self):
        self.later = 0
        self.lost = 0

    async def handle_EHLO(self, server, session, envelope, hostname):
        session.host_name = hostname
        return "250 HELP"

    async def handle_NOOP(self, server, session, envelope, arg):
        say(noop=True, tls=is_tls(server, session))
        return "250 OK"

    async def handle_MAIL(self, server, session, envelope, address, options):
        say(mail=address, tls=is_tls(server, session), login=bool(session.authenticated))
        if "refused" in address:
            return "550 5.7.1 this sender is not welcome"
        envelope.mail_from = address
        envelope.mail_options.extend(options)
        return "250 OK"

    async def handle_RCPT(self, server, session, envelope, address, options):
        say(rcpt=address)
        if address.startswith("refused"):
            return "550 5.1.1 no such mailbox"
        if address.startswith("later"):
            self.later += 1
            if self.later == 1:
                return "451 4.7.1 greylisted, come back"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server, session, envelope):
        content = envelope.content.decode("utf-8", "replace")
        say(data=content, to=envelope.rcpt_tos, tls=is_tls(server, session))
        if any(address.startswith("full") for address in envelope.rcpt_tos):
            return "552 5.2.2 mailbox full"
        if any(address.startswith("lost") for address in envelope.rcpt_tos):
            self.lost += 1
            if self.lost == 1:
                # The mail is taken, and nobody hears of it.
                server.transport.abort()
        return "250 OK"


class Server(SMTP):
    async def smtp_AUTH(self, arg):
        say(auth=arg)
        return await super().smtp_AUTH(arg)

    async def smtp_EHLO(self, hostname):
        if GREETING == "closed":
            await self.push("554 5.7.1 your address is on a list")
            return
        await super().smtp_EHLO(hostname)

    async def smtp_HELO(self, hostname):
        await self.smtp_EHLO(hostname)


GREETING = ""


def authenticator(user, password):
    def check(server, session, envelope, mechanism, data):
        good = (data.login, data.password) == (user.encode(), password.encode())
        # A talkative server, which repeats what it was given.
        message = None if good else "535 5.7.8 wrong: " + data.password.decode()
        return AuthResult(success=good, handled=not good and False, message=message)

    return check


async def main():
    options = argparse.ArgumentParser()
    options.add_argument("--tls", choices=["none", "starttls", "implicit"], default="none")
    options.add_argument("--cert")
    options.add_argument("--key")
    options.add_argument("--greeting", default="")
    options.add_argument("--user")
    options.add_argument("--password")
    options = options.parse_args()
    global GREETING
    GREETING = options.greeting
    context = None
    if options.tls != "none":
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(options.cert, options.key)
    handler = Handler()
    more = {}
    if options.user:
        more = dict(
            auth_required=True,
            auth_require_tls=options.tls == "starttls",
            authenticator=authenticator(options.user, options.password),
        )

    def factory():
        tls = context if options.tls == "starttls" else None
        return Server(handler, tls_context=tls, require_starttls=tls is not None, hostname="localhost", **more)

    wrapped = context if options.tls == "implicit" else None
    loop = asyncio.get_running_loop()
    server = await loop.create_server(factory, "127.0.0.1", 0, ssl=wrapped)
    print(server.sockets[0].getsockname()[1], flush=True)

    # It ends with whoever started it.
    def until_closed():
        sys.stdin.read()
        loop.call_soon_threadsafe(stop.set)

    stop = asyncio.Event()
    threading.Thread(target=until_closed, daemon=True).start()
    await stop.wait()


asyncio.run(main())
