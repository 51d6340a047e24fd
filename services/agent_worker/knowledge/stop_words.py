"""The commonest words of languages in Latin script. They tell which language a passage is written in."""

from collections import Counter
from collections.abc import Iterable
from itertools import chain
from typing import Final

# Keys are the names of the Snowball stemmers. "vietnamese" has none; it is here so that its texts are not taken for
# another language.
_WORDS: Final[dict[str, str]] = {
    "english": "the of and to in is was that for it with as on by from are were which this be at or an have has had "
    "not you your we our can will what when how do does if they their",
    "german": "der die das und ist in den von zu mit sich des auf für nicht ein eine als auch es an werden aus er hat "
    "dass sie nach wird bei einer um am sind noch wie einem über war oder wir ihr ich kann",
    "french": "le la les de des du et est en un une que qui dans pour pas sur au aux par plus ce cette sont avec se ne "
    "il elle nous vous ou été ses son être fait leur mais",
    "spanish": "el la los las de del y es en un una que por con para se no al lo como más su sus fue son este esta "
    "entre o pero ha desde también cuando muy puede",
    "portuguese": "o a os as de do da dos das e é em um uma que por com para se não ao no na nos nas mais como foi são "
    "seu sua ou pelo pela este esta entre também você pode",
    "italian": "il lo la i gli le di del della dei delle e è in un una che per con si non al nel alla da come più sono "
    "su anche suo questo dal ha o nella essere stato",
    "dutch": "de het een en van in is dat op te zijn met voor niet aan er om als ook bij door naar over uit werd wordt "
    "of hij ze deze heeft maar kan wij u je",
    "swedish": "och i att det som en på är av för med den till inte om ett har de var från han kan vi du så eller när "
    "men efter också blev vid ska sig",
    "danish": "og i at det som en på er af for med den til ikke om et har de var fra han kan vi du så eller når men "
    "efter også blev ved skal sig hvor",
    "norwegian": "og i å det som en på er av for med den til ikke om et har de var fra han kan vi du så eller når men "
    "etter også ble ved skal seg hvor",
    "finnish": "ja on ei että se oli hän mutta myös kun joka ovat sen tai jos niin kuin mitä voi tämä olla ole sekä "
    "vain jo noin mukaan jälkeen",
    "hungarian": "a az és hogy nem is egy volt ez meg csak már de azt mint vagy el kell lehet még ha amely után "
    "szerint között ki vagyok illetve",
    "romanian": "și în de la a cu un o pe din care este că nu pentru sau mai se au fost sunt prin al ale lui ca ce "
    "după fi între sa către era dacă cum",
    "turkish": "ve bir bu için ile de da olarak olan en çok daha gibi kadar sonra ne o ise var olduğu veya tarafından "
    "değil her ancak mi mı nasıl hangi kaç",
    "vietnamese": "và của là có được trong cho các một không những với người để này khi đã từ về như ra vào tại đến "
    "năm nhiều ở bị sẽ hoặc theo gì",
    "polish": "i w z na do nie się jest to że o jak ale po od za dla przez są oraz był jego czy tak który może jako "
    "ze roku lub tylko przy",
    "czech": "a v se na je že s z do o k i ve pro za by jsem jak po ale tak podle od jsou které nebo jeho byl jako při "
    "který také",
    "indonesian": "yang dan di ini itu dengan untuk dari dalam tidak pada adalah oleh akan ke sebagai ada juga saya "
    "kami atau bisa telah dapat anda lebih karena",
    "catalan": "el la els les de del dels i és en un una que per amb es no al com més són va seva seu aquest aquesta "
    "també entre des quan o ha",
}


def _languages_by_word() -> dict[str, tuple[str, ...]]:
    found: dict[str, list[str]] = {}
    for language, words in _WORDS.items():
        for word in words.split():
            found.setdefault(word, []).append(language)
    return {word: tuple(languages) for word, languages in found.items()}


_BY_WORD: Final = _languages_by_word()
# One common word proves nothing: "die", "to" and "on" are words of several languages.
_MIN_WORDS: Final = 3


def language_of_words(words: Iterable[str]) -> str | None:
    """The language most of whose common words are among the words, which are in lower case. None: too few are."""
    counts = Counter(chain.from_iterable(filter(None, map(_BY_WORD.get, words))))
    if not counts:
        return None
    language, count = counts.most_common(1)[0]
    return language if count >= _MIN_WORDS else None
