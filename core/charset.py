"""Which encoding a file of text is in: tables, game records.

Few files say it, and some that do lie (``CA`` in game records). The order of trust: the caller's
word, a byte order mark, plain ASCII, strict UTF-8, then the most probable of the encodings that
programs wrote before (GB18030, Shift-JIS, EUC-KR, Big5, EUC-JP, Windows-1251, Windows-1252; in
prose KOI8-R, Greek, Hebrew, Arabic, Thai), where the file's claim counts as a strong hint. Text
read in the wrong encoding is mostly made of rare characters, so each encoding has a model of its
languages in a few classes (frequent characters, the standard's level 1 and level 2, punctuation).
The score of a text is its log probability, plus the hint, less a fine for every place where that
reading would tear the file's structure (a trail byte can be ``\\`` or ``]``). Chinese or Korean
that the file claims may hold Japanese words: kana cost there what they cost in Japanese (their
bytes in GB2312 and EUC-JP are the same, so they tell nothing).

Bytes that fit no character become lone surrogates (PEP 383), so that no byte of a file is lost.
"""

from __future__ import annotations

import codecs
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from math import log

from cnnapps.core.encoding import MARKS, marked, unmarked_utf16
from cnnapps.core.errors import InputError, printable

__all__ = ["ESCAPED", "Decoded", "canonical", "decode", "known"]

# Family of names -> the superset that we read it with (Windows code pages add characters to the
# standards and change none that matters here).
_CODECS = {
    "ascii": "utf-8",
    "utf-8": "utf-8",
    "utf-16": "utf-16",  # of either order, until a mark says which
    "utf-16-le": "utf-16-le",
    "utf-16-be": "utf-16-be",
    "utf-32": "utf-32",
    "gb2312": "gb18030",
    "gbk": "gb18030",
    "gb18030": "gb18030",
    "shift_jis": "cp932",
    "cp932": "cp932",
    "euc_jp": "euc_jp",
    "iso2022_jp": "iso2022_jp",
    "euc_kr": "cp949",
    "cp949": "cp949",
    "johab": "johab",
    "big5": "cp950",
    "cp950": "cp950",
    "big5hkscs": "big5hkscs",
    "cp1250": "cp1250",
    "iso8859-2": "iso8859-2",
    "cp1251": "cp1251",
    "koi8-r": "koi8-r",
    "cp1253": "cp1253",
    "iso8859-7": "cp1253",
    "cp1255": "cp1255",
    "iso8859-8": "cp1255",
    "cp1256": "cp1256",
    "cp874": "cp874",
    "tis-620": "cp874",
    "iso8859-11": "cp874",
    "iso8859-1": "cp1252",
    "iso8859-15": "iso8859-15",
    "cp1252": "cp1252",
}
# Spellings in the wild that Python's own table of aliases lacks.
_ALIASES = {
    "unicode": "utf-8",
    "utf8mb4": "utf-8",
    "x-sjis": "cp932",
    "windows-31j": "cp932",
    "shift-jis": "cp932",
    "x-euc-jp": "euc_jp",
    "ks_c_5601-1987": "cp949",
    "ksc5601": "cp949",
    "x-gbk": "gbk",
    "gb": "gbk",
    "big5-eten": "big5",
    "cyrillic": "cp1251",
    "latin-1": "cp1252",
}
GUESSES = ("utf-8", "gb18030", "cp932", "cp949", "cp950", "euc_jp", "cp1251", "cp1252")
RARER = ("koi8-r", "cp1253", "cp1255", "cp1256", "cp874")
"""Encodings to think of in texts of some length; a short name would fit them by chance."""
_SAMPLE = 100_000  # bytes that a guess looks at
_HINT = 15.0  # nats that ``CA`` is worth: about three characters
_FAULT = 25.0  # nats that a torn value costs
_RARE = {"cp1251": 3.0, **dict.fromkeys(RARER, 10.0)}  # nats against them, for à alone is а

# Characters that are frequent in names, ranks, events and comments of game records.
_HANS = (
    "的一是不了在人有我他这个们中来上大为和国地到以说时要就出会可也你对生能而子那得于着下自之年过发后作里用道行所然家种事成方"
    "多经么去法学如都同现当没动面起看定天分还进好小部其些主样理心本前开但因只从想实日军者意无力它与长把机十民第公此已工使情明"
    "性知全三又关点正业外将两高间由问很最重并物手应战向头文体政美相见被利什二等产或新己制身果加西斯月话合回特代内信表化老给世"
    "位次度门任常先海通教儿原东声提立及比员解水名真论处走义各入几口认条平系气题活尔更别打女变四神总何电数安少报才结反受目太量"
    "再感建务做接必场件计管期市直德命山金指许统区保至队形社便空决治展马科司五基眼书非则听白却界达光放强即像难且权思王象完设式"
    "色路记南品住告类求据程北边死张该交规万取拉格望觉术领共确传师观清今切院让识候带导争运黑棋围胜负段级局半贴赛杯吃提劫征扳断"
    "虎跳飞拆挂角腰厚势薄官冠亚军名旗弈弃粘尖冲刺挡退压托渡飘夹镇封双逃杀做征定式布序盘认输执猜先番挑战擂台联农心杯春兰富士通"
    "应氏三星丰田李刘陈杨赵黄周吴徐孙胡朱高林何郭罗梁宋郑谢韩唐冯于董萧程曹袁邓许傅沈曾彭吕苏卢蒋蔡贾丁魏薛叶阎余潘杜戴夏钟"
    "汪田任姜范石姚谭廖邹熊陆郝孔白崔康毛邱秦江史顾侯邵孟龙万段钱汤尹黎易常武乔贺赖龚文廷玉强伟芳娜秀英敏静丽涛超勇艳杰娟洋昊"
    "昌镐世乭古力柯洁晓炯睿俊永训薰铉聂卫平九六七八初韵晨宇轩浩然志鹏磊鑫波斌辉刚健淑珍桂兰凤婷红云雪梅霞丹萍琴莹瑞佳琳倩欣怡"
)
_HANT = (
    "的一是不了在人有我他這個們中來上大為和國地到以說時要就出會可也你對生能而子那得於著下自之年過發後作裡用道行所然家種事成方"
    "多經麼去法學如都同現當沒動面起看定天分還進好小部其些主樣理心本前開但因只從想實日軍者意無力它與長把機十民第公此已工使情明"
    "性知全三又關點正業外將兩高間由問很最重並物手應戰向頭文體政美相見被利什二等產或新己制身果加西斯月話合回特代內信表化老給世"
    "位次度門任常先海通教兒原東聲提立及比員解水名真論處走義各入幾口認條平系氣題活爾更別打女變四神總何電數安少報才結反受目太量"
    "再感建務做接必場件計管期市直德命山金指許統區保至隊形社便空決治展馬科司五基眼書非則聽白卻界達光放強即像難且權思王象完設式"
    "色路記南品住告類求據程北邊死張該交規萬取拉格望覺術領共確傳師觀清今切院讓識候帶導爭運黑棋圍勝負段級局半貼賽盃杯吃提劫征扳斷"
    "虎跳飛拆掛角厚勢薄官冠亞棄粘尖衝刺擋退壓托渡夾鎮封雙逃殺布序盤輸執猜番挑擂臺台聯農春蘭富士應氏星豐田李劉陳楊趙黃周吳徐孫"
    "胡朱林郭羅梁宋鄭謝韓唐馮董蕭程曹袁鄧許傅沈曾彭呂蘇盧蔣蔡賈丁魏薛葉閻余潘杜戴夏鍾鐘汪田任姜范石姚譚廖鄒熊陸郝孔崔康毛邱秦江"
    "史顧侯邵孟龍錢湯尹黎易武喬賀賴龔廷玉偉芳娜秀英敏靜麗濤超勇豔杰傑娟洋昌鎬世古力俊永薰鉉聶衛九六七八初宇軒浩志鵬波輝剛健淑珍"
    "桂鳳婷紅雲雪梅霞怡君雅惠美玲雯筱宗翰承恩冠廷家豪柏彥信宏淑貞詩涵欣瑜嘉佩如慧"
)
_KANJI = (
    "日一国会人年大十二本中長出三同時政事自行社見月分議後前民生連五発間対上部東者党地合市業内相方四定今回新場金員九入選立開手"
    "米力学問高代明実円関決子動京全目表戦経通外最言氏現理調体化田当八六約主題下首意法不来作性的要用制治度務強気小七成期公野協取"
    "都和統以機平総加山思家話世受区領多県続進正安設保改数記院女初北午指権心界支第産結百派点教報済書府活原先共得解名交資予川向際"
    "査勝面委告軍文反元重近千考判認画海参売利組知案道信策集在件団別物側任引使求所次水半品昨論計死官増係感特情投示変打男基私各始"
    "島直両朝革価式確村提運終挙果西勢減台広容必応演電歳住争談能無再位置企真流格有疑口過局少放税検藤町常校料沢裁状工建語球営空職"
    "証土与急止送援供可役構木割聞身費付施切由説転食比難防補車優夫研収断井何南石足違消境神番規術護展態導鮮備宅害配副算視条幹独"
    "警宮究育席輸訪楽起万着乗店述残想線率病農州武声質念待試族象銀域助労例衛然早張映限親額監環験追審商葉義伝働形景落欧担好退準賞"
    "棋碁囲段級敗黒白碁聖坂趙治勲光小林秀覚片岡王立誠依紀基羽根直樹張栩結城聡山下敬吾河野臨宏裕太蘇耀国許家元一力遼芝虎丸余正麒"
    "佐木加渡高橋鈴伊清斎松森池阿石崎吉福和泉春夏秋冬美香奈優翔拓健康太郎介輔悠斗蓮陽菜結衣翼亮彩稔淳桃里佳晶直修晃浩舞七夏希"
)
_HANGUL = (
    "이다는을의가에고하지은를한로기도자사해어대인리그으서아나시있니정전일수부스성제상라여장주들유과보소안조동만구적우국비원오신"
    "마경관공것드무실연화생선중문면방위김박최강윤임한권황송홍류고양손배백허남심노하곽차구진민엄채천변급단승흑집불계반바둑프로두기"
    "왕명본선결예패초와요때말없더할같했었지만까게던습합네죠음세내모든물론개분현영철호준민지훈석희은숙옥순미경재용태규병종환창건"
    "덕상찬혁빈우람솔별빛시윤도현예준하은서연지원수빈채원유진혜진아름슬기나라보라샛별세돌창호훈현철한목진석조치박정환신진서커제"
    "게임제한초읽시간분초정선접바점덤친선타이젬오로한국원배전컵삼성엘지농심롯데왕위국수패왕기성천원번외회국차예선결승준통합등록"
)


@dataclass(frozen=True, slots=True)
class Decoded:
    """``text`` as ``encoding`` gives it, after a byte order mark of ``bom`` bytes.

    ``notes`` say what a reader should know (an encoding that was guessed or did not fit).
    """

    text: str
    encoding: str
    bom: int = 0
    notes: tuple[str, ...] = ()

    def byte_offset(self, index: int, *, since: tuple[int, int] = (0, 0)) -> int:
        """The byte at which character ``index`` begins.

        ``since`` is a pair (index, byte) that is known already: it saves counting from the start.
        """
        start, at = since if since[0] <= index else (0, 0)
        return (at or self.bom) + len(_encoded(self.text[start:index], self.encoding))


def canonical(name: str) -> str | None:
    """The codec for a name of an encoding as found in ``CA`` or given by a user; None if unknown.

    Python's codecs that are no character encodings (rot13, zip, idna ...) are unknown here.
    """
    key = name.strip().lower()
    key = _ALIASES.get(key, key)
    try:
        return _CODECS.get(codecs.lookup(key).name)
    except (LookupError, ValueError):  # ValueError: a NUL or other nonsense in the name
        return None


def known(name: str) -> str:
    """The codec for a name that a user gave: a superset where we read one, else Python's own.

    InputError for a name that Python has no character encoding for.
    """
    codec = canonical(name)
    if codec is None:
        try:
            codec = codecs.lookup(name).name.removesuffix("-sig")
            b"a".decode(codec, "replace")  # refuses base64, rot13, idna and the like
        except (LookupError, ValueError) as error:
            reason = f"unknown encoding {name!r} (try utf-8, gb18030 or windows-1252)"
            raise InputError("--encoding", reason) from error
    return codec


def decode(
    data: bytes,
    *,
    source: object = "",
    encoding: str | None = None,
    claimed: str | None = None,
    faults: Callable[[str], int] = lambda text: 0,
    prose: bool = False,
) -> Decoded:
    """The text of ``data``.

    ``encoding`` is the caller's word, ``claimed`` the file's own (``CA``). ``faults`` counts the
    places where a text tears the file's structure. ``prose`` is text of some length, not a record
    with two names in it: nothing else looks like UTF-8 by chance, and ``RARER`` encodings are
    thought of. InputError if we don't know ``encoding``.
    """
    if encoding is None:
        return _detect(data, claimed, faults, prose)
    codec = canonical(encoding)
    if codec is None:
        raise InputError(source, f"unknown encoding {encoding!r} (try utf-8, gb18030 or shift_jis)")
    codec, bom = marked(data, codec)
    text = _lenient(data[bom:], codec) or ""
    told = Decoded(text, codec, bom, _unfit(text, codec))
    torn = faults(told.text[:_SAMPLE])
    if torn:  # moves must not depend on the choice: a wrong word must not cost the record its shape
        found = _detect(data, claimed, faults, prose)
        if faults(found.text[:_SAMPLE]) < torn:
            note = f"{printable(encoding, 40)} tears the record apart: read as {found.encoding}"
            return Decoded(found.text, found.encoding, found.bom, (note,))
    return told


def _detect(data: bytes, claimed: str | None, faults: Callable[[str], int], prose: bool) -> Decoded:
    for mark, codec in MARKS:
        if data.startswith(mark):
            return Decoded(_lenient(data[len(mark) :], codec) or "", codec, len(mark))
    claim = canonical(claimed) if claimed else None
    if claim == "utf-8" and (text := _strict(data, "utf-8")) is not None:
        return Decoded(text, "utf-8")
    if wide := unmarked_utf16(data):
        return Decoded(_lenient(data, wide) or "", wide)
    if (shifted := _shifted(data)) is not None:
        return Decoded(shifted, "iso2022_jp")
    if data.isascii():
        return Decoded(data.decode("ascii"), "utf-8")
    found = _unicode(data, short=not prose)
    return found or _most_probable(data, claim, claimed, faults, RARER if prose else ())


def _shifted(data: bytes) -> str | None:
    """ISO-2022-JP: seven bits, every run of characters between its escape sequences."""
    starts = data.count(b"\x1b$")
    if starts and starts == len(_SHIFTED.findall(data)):
        return _strict(data, "iso2022_jp")
    return None


def _sample(data: bytes) -> bytes:
    """The part that is looked at: from shortly before the first byte that is not ASCII."""
    first = _HIGH.search(data)
    start = max(first.start() - 1_000, 0) if first else 0
    return data[start : start + _SAMPLE]


def _unicode(data: bytes, *, short: bool) -> Decoded | None:
    """UTF-8, if the bytes say so: by chance other encodings hardly ever look like it.

    A few broken characters are allowed (servers cut names after so many bytes). In a ``short`` text
    a few two-byte characters of East Asia can look like UTF-8: None lets them compete.
    """
    text = _strict(data, "utf-8")
    if text is None:
        look = _sample(data).decode("utf-8", "surrogateescape")
        bad = len(ESCAPED.findall(look))
        if len(_NOT_ASCII.findall(look)) < 3 * bad:
            return None
        text = data.decode("utf-8", "surrogateescape")
        return Decoded(text, "utf-8", 0, _unfit(text, "utf-8"))
    if short and max(text) < "\u0800":
        return None
    return Decoded(text, "utf-8")


def _most_probable(
    data: bytes,
    claim: str | None,
    claimed: str | None,
    faults: Callable[[str], int],
    also: Sequence[str],
) -> Decoded:
    sample = _sample(data)
    candidates = dict.fromkeys((*GUESSES, *also, *([claim] if claim else [])))
    best, codec = float("-inf"), GUESSES[0]
    for candidate in candidates:
        text = _lenient(sample, candidate)
        if text is None:
            continue
        claims = candidate == claim
        score = _score(text, candidate, kana=claims) - _FAULT * faults(text) + _HINT * claims
        if not claims:
            score -= _RARE.get(candidate, 0.0)
        if score > best:
            best, codec = score, candidate
    notes: tuple[str, ...] = ()
    if claimed is None and codec != "utf-8":
        notes = (f"no encoding given: read as {codec}",)
    elif claimed is not None and claim != codec:
        notes = (f"CA[{printable(claimed.strip(), 40)}] does not fit: read as {codec}",)
    text = _lenient(data, codec) or ""
    return Decoded(text, codec, 0, notes + _unfit(text, codec))


def _unfit(text: str, codec: str) -> tuple[str, ...]:
    """A note on the bytes that ``codec`` has no character for."""
    bad = len(ESCAPED.findall(text))
    return (f"{bad} {'byte is' if bad == 1 else 'bytes are'} no text in {codec}",) if bad else ()


def _score(text: str, codec: str, *, kana: bool = False) -> float:
    """Log probability of ``text`` (nats) under the languages that are written in ``codec``.

    ``kana`` lets Chinese and Korean text hold Japanese words.
    """
    cost = 0.0
    model = _model(codec)
    if kana and codec in _WITH_KANA:
        model = {**_kana(), **model}
    for char, count in Counter(text).items():
        if char < "\x80":
            cost -= 3.0 * count
        else:
            cost += model.get(char, _UNSEEN if char.isprintable() else _BROKEN) * count
    if codec in ("cp1252", "cp1250", "iso8859-15", "iso8859-2"):
        cost -= 8.0 * len(_ACCENTS_IN_A_ROW.findall(text))
    elif codec in ("cp1251", "koi8-r"):
        cost -= 6.0 * len(_CASE_FLIP.findall(text))
    elif codec in RARER:
        cost -= 8.0 * len(_TWO_SCRIPTS.findall(text)) + 4.0 * len(_ALONE.findall(text))
    elif codec != "utf-8":
        cost -= 4.0 * len(_IN_LATIN.findall(text))
    return cost


_WITH_KANA = ("gb18030", "cp950", "big5hkscs", "cp949")
_UNSEEN = log(1e-3 / 20_000)
_BROKEN = -20.0
_SHIFTED = re.compile(rb"\x1b\$[@B](?:[!-~]{2})+\x1b\([BJ]")
_HIGH = re.compile(rb"[\x80-\xff]")
ESCAPED = re.compile("[\ud800-\udfff]")
_NOT_ASCII = re.compile("[^\x00-\x7f]")
_ACCENTS_IN_A_ROW = re.compile("[À-ÿ]{3}")
_CASE_FLIP = re.compile("[а-яё][А-ЯЁ]|[A-Za-z][а-яА-Я]|[а-яА-Я][A-Za-z]")
_ALONE = re.compile("(?<![^\x00-\x7f])[^\x00-\x7f](?![^\x00-\x7f])")
_TWO_SCRIPTS = re.compile("[A-Za-z][\u0370-\u0e5b]|[\u0370-\u0e5b][A-Za-z]")
# The lone ð of an English table is two bytes of UTF-8, and one syllable of Korean.
_IN_LATIN = re.compile("[a-z](?=[^\x00-\x7f])|[^\x00-\x7f](?=[a-z])")
_GREEK = "αοιετσνηυρπκμλωςίάόέδγχθύφήβώξζψϊϋΐΰ"
_ARABIC = "اليمنوتربهعدفقسحكةىشجخصضطغذثزظءأإآئؤ"
_WESTERN = "éèêëàâçîïôûùüöäßñáíóúåøæÉÖÜÄÅØÇŠšžčć°½×±«»‘’“”–—…·¿¡£€©®™§"
_CENTRAL = "łżźńąęśěřůňťďľőűăşţșțğıđŁŻŚŘČŽİŞŐ"
_CYRILLIC = "оеаинтсрвлкмдпуяыьгзбчйхжшюцщэфъё"
_PUNCTUATION = (
    "　、。，．・：；？！（）「」『』【】《》〈〉“”‘’…—～·0123456789０１２３４５６７８９％"
)


@cache
def _kana() -> dict[str, float]:
    """Log probability of each kana in Japanese text."""
    return {char: log(mass / len(chars)) for mass, chars in _KANA for char in chars}


@cache
def _model(codec: str) -> dict[str, float]:
    """Log probability of each character: classes of (probability of the class, its characters)."""
    classes: list[tuple[float, str]]
    if codec == "gb18030":
        classes = [
            (0.70, _HANS),
            (0.08, _PUNCTUATION),
            (0.20, _rows("gb2312", 0xB0, 0xD7)),
            (0.015, _rows("gb2312", 0xD8, 0xF7)),
        ]
    elif codec in ("cp932", "euc_jp", "iso2022_jp"):
        classes = [
            *_KANA,
            (0.08, _PUNCTUATION),
            (0.32, _KANJI),
            (0.09, _rows("euc_jp", 0xB0, 0xCF)),
            (0.003, _rows("euc_jp", 0xD0, 0xF4)),
            (0.001, _span("｡", "ﾟ")),
        ]
    elif codec in ("cp949", "johab"):
        classes = [
            (0.70, _HANGUL),
            (0.05, _PUNCTUATION),
            (0.22, _rows("euc_kr", 0xB0, 0xC8)),
            (0.01, _rows("euc_kr", 0xCA, 0xFD)),
            (0.003, _span("가", "힣")),
        ]
    elif codec in ("cp950", "big5hkscs"):
        classes = [
            (0.70, _HANT),
            (0.08, _PUNCTUATION),
            (0.20, _rows("big5", 0xA4, 0xC6)),
            (0.01, _rows("big5", 0xC9, 0xF9)),
        ]
    elif codec in ("cp1251", "koi8-r"):
        classes = [(0.78, _CYRILLIC[:14]), (0.14, _CYRILLIC[14:]), (0.07, _CYRILLIC.upper())]
        classes += [(0.005, "«»№–—“”")]
    elif codec == "cp1253":
        classes = [(0.90, _GREEK), (0.07, _GREEK.upper()), (0.01, "«»–—“”’·")]
    elif codec == "cp1255":
        classes = [(0.97, _span("א", "ת")), (0.01, "–—“”’")]
    elif codec == "cp1256":
        classes = [(0.97, _ARABIC), (0.02, "،؛؟–—“”")]
    elif codec == "cp874":
        classes = [(0.98, _span("ก", "ฺ") + _span("เ", "๛")), (0.01, "–—“”")]
    elif codec == "utf-8":  # with two bytes a character, for only such text gets here
        classes = [(0.40, _WESTERN), (0.40, _CYRILLIC + _CYRILLIC.upper()), (0.10, _CENTRAL)]
        classes += [(0.1, _span("\x80", "\u07ff"))]
    else:
        classes = [(0.93, _WESTERN), (0.05, _span("À", "ÿ")), (0.005, _span("\xa0", "¿"))]
    model: dict[str, float] = {}
    for mass, characters in classes:
        fresh = set(characters) - model.keys()
        model.update(dict.fromkeys(fresh, log(mass / len(set(characters)))))
    return model


def _span(first: str, last: str) -> str:
    return "".join(map(chr, range(ord(first), ord(last) + 1)))


_KANA = ((0.30, _span("ぁ", "ん")), (0.20, _span("ァ", "ヶ") + "ー"))


def _rows(codec: str, first: int, last: int) -> str:
    """The characters whose lead byte lies in ``first`` ... ``last``: one level of a standard."""
    return "".join(_row_characters(codec, first, last))


def _row_characters(codec: str, first: int, last: int) -> Iterator[str]:
    for lead in range(first, last + 1):
        for trail in range(0x40, 0xFF):
            try:
                yield bytes((lead, trail)).decode(codec)
            except UnicodeDecodeError:
                continue


def _strict(data: bytes, codec: str) -> str | None:
    try:
        return data.decode(codec)
    except (UnicodeError, ValueError):
        return None


def _lenient(data: bytes, codec: str) -> str | None:
    """Decode with bad bytes kept as lone surrogates; None where the codec can't do that."""
    wide = codec.startswith(("utf-16", "utf-32"))
    try:
        return data.decode(codec, "replace" if wide else "surrogateescape")
    except (UnicodeError, ValueError):
        return _strict(data, codec) if wide else data.decode(codec, "replace")


def _encoded(text: str, codec: str) -> bytes:
    if text.isascii() and not codec.startswith(("utf-16", "utf-32")):
        return text.encode("ascii")
    try:
        return text.encode(codec, "surrogateescape")
    except UnicodeError:
        return text.encode(codec, "replace")
