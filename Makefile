# A thin layer around cargo: the two commands of the README, and installation.

CARGO ?= cargo
PORT ?= 4321
# Where cargo puts what it builds.
TARGET := $(abspath $(or $(CARGO_TARGET_DIR),target))
BIN := $(TARGET)/debug
PID_FILE := $(TARGET)/quick-start.pid

# Where things go, as the GNU coding standards name the places.
PREFIX ?= /usr/local
BINDIR ?= $(PREFIX)/bin
LIBDIR ?= $(PREFIX)/lib
INCLUDEDIR ?= $(PREFIX)/include
DATADIR ?= $(PREFIX)/share
MANDIR ?= $(DATADIR)/man
DOCDIR ?= $(DATADIR)/doc/socket-protector
PKGCONFIGDIR ?= $(LIBDIR)/pkgconfig
INSTALL ?= install

# What is installed: PROFILE=dev builds faster, for trying the installation.
PROFILE ?= release
# The C library must not abort a daemon, as panic = "abort" of the release profile would.
LIBRARY_PROFILE ?= $(if $(filter release,$(PROFILE)),c-library,$(PROFILE))
folder = $(TARGET)/$(if $(filter dev,$(1)),debug,$(1))
PROGRAM = $(call folder,$(PROFILE))/socket-protector
LIBRARY = $(call folder,$(LIBRARY_PROFILE))/libsocket_protector
VERSION := $(shell sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
# As in client-lib/c/build.rs.
SONAME := libsocket_protector.so.0
GENERATED := $(TARGET)/generated
BASH := bash-completion/completions/socket-protector
ZSH := zsh/site-functions/_socket-protector
FISH := fish/vendor_completions.d/socket-protector.fish

.PHONY: help build run test clean release install uninstall

help:
	@echo "make run     build, and run the quick start on port $(PORT) (make run PORT=8000 takes another)"
	@echo "make test    build, and run the whole suite"
	@echo "make build   build all programs: $(BIN)"
	@echo "make clean   remove what was built"
	@echo "make release     build what is to be installed"
	@echo "make install     build and install it below $(PREFIX) (PREFIX=/usr, DESTDIR=/tmp/package)"
	@echo "make uninstall   remove what was installed"

build:
	$(CARGO) build --workspace

run: build
	@echo
	@echo "The sample prints here what it is sent. Try in another shell:"
	@echo "    echo 'Hello, World' | nc -N localhost $(PORT)"
	@echo "    kill -HUP \$$(cat $(PID_FILE))      # a new child serves, the old one drains"
	@echo "    $(BIN)/socket-protector status $(PORT)"
	@echo "Stop it with ^C."
	@echo
	@$(BIN)/socket-protector -f --pid-file $(PID_FILE) $(PORT) -- $(BIN)/sample-client $(PORT)

test:
	$(CARGO) test --workspace --all-features

clean:
	$(CARGO) clean

release:
	$(CARGO) build --package socket-protector --profile $(PROFILE)
	$(CARGO) build --package socket-protector-c --profile $(LIBRARY_PROFILE)

# As root there may be no cargo: then `make release` comes first, as somebody who has one.
install:
	@if command -v $(CARGO) > /dev/null; then $(MAKE) --no-print-directory release; fi
	@test -x $(PROGRAM) && test -f $(LIBRARY).so || { echo "make release comes first"; exit 1; }
	$(INSTALL) -D -m 755 $(PROGRAM) $(DESTDIR)$(BINDIR)/socket-protector
	$(INSTALL) -D -m 755 $(LIBRARY).so $(DESTDIR)$(LIBDIR)/libsocket_protector.so.$(VERSION)
	$(INSTALL) -D -m 644 $(LIBRARY).a $(DESTDIR)$(LIBDIR)/libsocket_protector.a
	ln -sf libsocket_protector.so.$(VERSION) $(DESTDIR)$(LIBDIR)/$(SONAME)
	ln -sf $(SONAME) $(DESTDIR)$(LIBDIR)/libsocket_protector.so
	# What daemons of the original SocketProtector link by.
	ln -sf libsocket_protector.so $(DESTDIR)$(LIBDIR)/libSocketProtector.so
	ln -sf libsocket_protector.a $(DESTDIR)$(LIBDIR)/libSocketProtector.a
	$(INSTALL) -d $(DESTDIR)$(INCLUDEDIR) $(DESTDIR)$(PKGCONFIGDIR)
	$(INSTALL) -m 644 client-lib/include/*.h $(DESTDIR)$(INCLUDEDIR)
	rm -rf $(GENERATED) && $(PROGRAM) man $(GENERATED)
	sed -e 's|@PREFIX@|$(PREFIX)|; s|@LIBDIR@|$(LIBDIR)|; s|@INCLUDEDIR@|$(INCLUDEDIR)|; s|@VERSION@|$(VERSION)|' \
	    client-lib/socket_protector.pc.in > $(GENERATED)/socket_protector.pc
	$(INSTALL) -m 644 $(GENERATED)/socket_protector.pc $(DESTDIR)$(PKGCONFIGDIR)
	$(INSTALL) -d $(DESTDIR)$(MANDIR)/man1
	$(INSTALL) -m 644 $(GENERATED)/*.1 $(DESTDIR)$(MANDIR)/man1
	for shell in bash zsh fish; do $(PROGRAM) completions $$shell > $(GENERATED)/$$shell || exit; done
	$(INSTALL) -D -m 644 $(GENERATED)/bash $(DESTDIR)$(DATADIR)/$(BASH)
	$(INSTALL) -D -m 644 $(GENERATED)/zsh $(DESTDIR)$(DATADIR)/$(ZSH)
	$(INSTALL) -D -m 644 $(GENERATED)/fish $(DESTDIR)$(DATADIR)/$(FISH)
	# The init script is to be copied for each service, so it is no script of the system's yet.
	$(INSTALL) -d $(addprefix $(DESTDIR)$(DOCDIR)/,docs init.d examples)
	$(INSTALL) -m 644 README.md CHANGELOG.md LICENSE-* $(DESTDIR)$(DOCDIR)
	$(INSTALL) -m 644 docs/*.md $(DESTDIR)$(DOCDIR)/docs
	$(INSTALL) -m 755 init.d/socket-protector $(DESTDIR)$(DOCDIR)/init.d
	$(INSTALL) -m 644 init.d/socket-protector.default $(DESTDIR)$(DOCDIR)/init.d
	$(INSTALL) -m 644 client-lib/examples/c/* $(DESTDIR)$(DOCDIR)/examples
	@if [ -z "$(DESTDIR)" ] && [ "$$(id -u)" = 0 ] && command -v ldconfig > /dev/null; then ldconfig; fi

uninstall:
	rm -f $(DESTDIR)$(BINDIR)/socket-protector $(DESTDIR)$(LIBDIR)/libsocket_protector.* \
	    $(DESTDIR)$(LIBDIR)/libSocketProtector.so $(DESTDIR)$(LIBDIR)/libSocketProtector.a \
	    $(addprefix $(DESTDIR)$(INCLUDEDIR)/,$(notdir $(wildcard client-lib/include/*.h))) \
	    $(DESTDIR)$(PKGCONFIGDIR)/socket_protector.pc \
	    $(DESTDIR)$(MANDIR)/man1/socket-protector.1 $(DESTDIR)$(MANDIR)/man1/socket-protector-*.1 \
	    $(addprefix $(DESTDIR)$(DATADIR)/,$(BASH) $(ZSH) $(FISH))
	rm -rf $(DESTDIR)$(DOCDIR)
