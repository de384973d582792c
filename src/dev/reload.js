// Loads the page again when its program has changed. It is part of pages that the program has made: it leaves no name behind,
// and asks for nothing that a strict Content-Security-Policy forbids.
(function () {
  "use strict";

  var script = document.currentScript;
  if (!script || !window.WebSocket || document.documentElement.hasAttribute("data-socket-protector")) {
    return;
  }
  say("");
  var shown = script.getAttribute("data-build");
  var address = new URL("reload", script.src);
  address.protocol = address.protocol === "https:" ? "wss:" : "ws:";
  var protocol = "http://livereload.com/protocols/official-7";
  var patience = 1000;
  var notice = null;

  // Whether news would arrive, for whoever looks.
  function say(state) {
    document.documentElement.setAttribute("data-socket-protector", state);
  }

  function connect() {
    var socket = new WebSocket(address.href);
    socket.onopen = function () {
      socket.send(JSON.stringify({ command: "hello", protocols: [protocol] }));
    };
    socket.onmessage = function (event) {
      var message = JSON.parse(event.data);
      if (message.command === "hello") {
        patience = 1000;
        say("live");
        // A connection that is made anew is no reason; something else behind it is.
        if (shown && message.build && message.build !== shown && isFirstTime(message.build)) {
          location.reload();
        }
      } else if (message.command === "reload") {
        if (/\.css$/i.test(message.path)) {
          shown = message.build || shown;
          exchangeStyles(message.path);
        } else if (!shown || message.build !== shown) {
          // What is shown already is not loaded again.
          location.reload();
        }
      } else if (message.command === "alert") {
        tell(message.message);
      }
    };
    socket.onclose = function () {
      say("");
      setTimeout(connect, patience);
      patience = Math.min(patience * 2, 30000);
    };
  }

  // A page that something keeps, as a service worker does, stays what it was: it is loaded again once for each build.
  function isFirstTime(build) {
    var name = "socket-protector-build";
    try {
      if (sessionStorage.getItem(name) === build) {
        return false;
      }
      sessionStorage.setItem(name, build);
    } catch (refused) {
      // Without storage nothing is kept either.
    }
    return true;
  }

  // How many of the last parts of two paths are the same.
  function likeness(one, other) {
    var left = one.split("/").reverse(), right = other.split("/").reverse(), count = 0;
    while (count < left.length && count < right.length && left[count] === right[count]) {
      count += 1;
    }
    return count;
  }

  // Those that are most like the path; all, if none is, since one may be part of another.
  function exchangeStyles(path) {
    untell();
    var links = Array.prototype.filter.call(document.querySelectorAll("link[rel~=stylesheet]"), function (link) {
      return link.href && new URL(link.href, location.href).origin === location.origin;
    });
    if (links.length === 0) {
      location.reload();
      return;
    }
    var alike = links.map(function (link) {
      return likeness(decodeURIComponent(new URL(link.href).pathname), path);
    });
    var best = Math.max.apply(null, alike);
    links.forEach(function (link, index) {
      if (best === 0 || alike[index] === best) {
        exchange(link);
      }
    });
  }

  // The new one is there before the old one goes, so that the page is never without.
  function exchange(link) {
    var next = link.cloneNode(false);
    var source = new URL(link.href);
    source.searchParams.set("reload", String(Date.now()));
    next.href = source.href;
    next.onload = next.onerror = function () {
      link.remove();
    };
    link.after(next);
  }

  function untell() {
    if (notice) {
      notice.remove();
      notice = null;
    }
  }

  function tell(text) {
    untell();
    notice = document.createElement("div");
    notice.setAttribute("role", "alert");
    notice.textContent = text;
    var style = {
      position: "fixed", left: "0", right: "0", bottom: "0", maxHeight: "50vh", overflow: "auto", margin: "0",
      padding: "12px 16px", zIndex: "2147483647", background: "#b3261e", color: "#fff", textAlign: "left",
      font: "13px/1.5 ui-monospace, monospace", whiteSpace: "pre-wrap", overflowWrap: "anywhere", cursor: "pointer"
    };
    Object.keys(style).forEach(function (name) {
      notice.style[name] = style[name];
    });
    notice.onclick = untell;
    document.body.appendChild(notice);
  }

  connect();
})();
