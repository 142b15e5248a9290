"""Words that carry no name, by hand: closed classes of the larger written languages.

Only words that are short and frequent enough to begin a sentence or to stand between phrases are
listed. A language that is missing loses some precision, never its names.
"""

from __future__ import annotations

from typing import Final


def _words(*lists: str) -> frozenset[str]:
    return frozenset(word for listed in lists for word in listed.split())


_ENGLISH = """a about above according across after again against all along also although always am
among an and another any are around as at away be became because become been before being below
between both but by can could did do does doing done down during each either even ever every few
finally first for from further had has have having he hence her here hers herself him himself his
how however i if in including indeed inside instead into is it its itself just last later least less
like made many may me meanwhile might mine more moreover most much must my near neither never
nevertheless next no nor not nothing now of off often on once one only onto or other others our
ours out outside over own per perhaps quite rather same second several shall she should since so
some something sometimes soon still such than that the their theirs them then there therefore these
they this those though three through throughout thus to together too toward towards two under
unless until up upon us used using usually very via was we were what whatever when whenever where
whereas wherever whether which while who whoever whole whom whose why will with within without would
yes yet you your yours additionally furthermore despite"""
_GERMAN = """aber alle allem allen aller alles als also am an andere anderen anderer auch auf aus
bald bei beim bereits besonders bis bisher da dabei dadurch dafür dagegen daher dahin damals damit
danach daneben dann daran darauf daraus darin darum darunter das dass davon dazu dem den denen denn
dennoch der deren des deshalb dessen die dies diese diesem diesen dieser dieses doch dort durch
ebenso ein eine einem einen einer eines einige er erst es etwa etwas euch für gegen gibt hat hatte
hatten heute hier hinter ich ihm ihn ihnen ihr ihre ihrem ihren ihrer im immer in indem ins ist
jedoch jede jeder jedes jetzt kann kein keine können könnte man manche mehr mein mit muss nach
nachdem neben nicht nichts noch nun nur ob obwohl oder ohne schon sehr sein seine seinem seinen
seiner seit seitdem sich sie sind so sobald sogar solche soll sollte sondern sonst später trotz über
um und uns unser unter viel viele vom von vor wann war waren warum was weder wegen weil welche
welcher welches wem wen wenig wenn wer werden weshalb wie wieder wird wo wobei wohl wurde wurden
während zu zuerst zudem zum zunächst zur zwar zwei zwischen"""
_FRENCH = """afin ainsi alors après au aucun aussi autre autres aux avant avec avoir bien c car ce
ceci cela celle celui ces cet cette chaque chez comme comment d dans de depuis des deux donc dont du
elle elles en encore entre est et étaient était être eux fait il ils j je l la le les leur leurs lors
lorsque lui mais malgré même mes moins mon n ne nos notre nous on ont ou où par parmi pas pendant peu
plus pour pourquoi puis qu quand que quel quelle quels qui quoi s sa sans se selon ses si sinon son
sont sous sur ta tandis tous tout toute toutes très tu un une vers vos votre vous y"""
_SPANISH = """a al algo algunos ante antes así aún aunque bajo cada como cómo con contra cual cuál
cuando cuándo de debido del desde después donde dónde durante e el él ella ellas ellos en entonces
entre era eran es esa ese eso esta está estaba este esto estos fue fueron ha había han hasta hay la
las le les lo los luego más me mi mientras muy nada ni no nos o otra otras otro otros para pero poco
por porque primero pues que qué quien quién se según ser si sí sido sin sino sobre son su sus también
tan tanto te tiene tienen toda todas todo todos tras tu un una unas uno unos y ya yo"""
_PORTUGUESE_ITALIAN_DUTCH = """ao aos às até com da das do dos ela ele eles em essa esse esta este eu
foi foram isso já mais mas na nas não nem no nos nós num numa onde os para pela pelas pelo pelos por
quais qual quando que quem são sem seu sua também tem uma
agli ai alla alle allo anche che chi ci come con cui da dal dalla dalle degli dei del della delle di
dopo dove e è ed egli era erano essere fino fra gli ha hanno i il in io la le lei lo loro lui ma
mentre ne nei nel nella nelle non o ogni per perché più poi prima quale quando quello questa queste
questo se si sono sotto su sua sul sulla suo tra tutti un una uno
aan als bij daar dan dat de deze die dit door een en er haar heeft het hij hoe hun in is kan maar meer
met na naar niet nog of om onder ook op over te tegen toen tot uit van voor waar wanneer was wat welke
werd wie wordt zich zij zijn zonder"""
_CYRILLIC_GREEK = """а без более был была были было быть в вам вас весь во вот все всех вы где да для
до его ее её если есть еще ещё же за здесь из или им их к как когда который которая которые которых
кто ли между меня мне много мы на над нам нас не него нее нет ни но о об один однако он она они оно
от перед по под после потому при про с сам свой себя со так также такой там то тогда того тоже только
том ты у уже чем через что чтобы эта эти это этого этой этом этот я
і та це що як від або але із її його й ці цей ця ще
αλλά αν από αυτή αυτό για δεν είναι ένα ένας και κατά με μετά μια να ο η οι όταν ότι που προς σε στη
στην στο στον τα την της τις το τον του των ως"""
_UNCASED = """إلى أن أو أي إذا التي الذي الذين إن أنه أيضا بعد بين تلك ثم حتى حيث خلال دون ذلك على عن عند
عندما غير فقد فهو في فيها قبل قد كان كانت كل كما لا لم لن له لها ما مع من منذ منها هذا هذه هل هم هو هي
هناك و وقد وكان وكانت ولا ولم وهو وهي ومن وفي یا است این آن از با به برای بود تا در را که می نیز های هر و
کے کا کی کو میں سے پر نے اور ہے ہیں تھا تھی ایک اس یہ وہ بھی
של את על עם הוא היא הם לא כי גם או אם כל זה זו אשר היה היתה הייתה בין עד כדי רק אך לאחר יותר
के का की को में से पर ने और है हैं था थी थे एक यह वह इस उस भी कि जो तो ही हो गया गई लिए तक या नहीं कर द्वारा
এবং এর একটি এই ও করে করা থেকে হয় তার যে না
은 는 이 가 을 를 의 에 에서 와 과 도 및 그 또는 그리고 하지만 있는 있다 없다 한 할 수 것 등 위해 대한 통해"""

FUNCTION_WORDS: Final = _words(
    _ENGLISH, _GERMAN, _FRENCH, _SPANISH, _PORTUGUESE_ITALIAN_DUTCH, _CYRILLIC_GREEK, _UNCASED
)
"""Words that neither are a name nor begin or end one, case folded."""

GERMAN: Final = _words(_GERMAN) - _words(_ENGLISH)
"""Words by which German is told: there every noun is written like a name."""

INSIDE: Final = _words(
    "of the de la le du des da do dos das di del della degli van von vom der den el al bin ibn ap af av"
    " zu zum zur ten ter i"
)
"""What may stand between two words of one name, case folded."""

BETWEEN: Final = _words("and & und y e et och og en i и und")
"""What joins two names, and sometimes two words of one."""

DATES: Final = _words(
    "january february march april may june july august september october november december"
    " jan feb mar apr jun jul aug sep sept oct nov dec"
    " monday tuesday wednesday thursday friday saturday sunday"
    " januar februar märz mai juni juli oktober dezember montag dienstag mittwoch donnerstag freitag"
    " samstag sonntag"
)
"""Words of which, with numbers, a date consists: a bridge between everything and nothing."""

TITLES_OF_PEOPLE: Final = _words(
    "st dr mr mrs ms jr sr prof gen col lt capt no mt ft inc co corp ltd vs"
)
"""Abbreviations after which a full stop ends no sentence."""
