"""What sentences look like that decline, preach, send elsewhere or doubt; English only.

Written from the nature of the task: what is said in place of an answer, whatever was asked. All are
matched against :func:`declutch.replies.flags.plain` text, one sentence at a time.
"""

from __future__ import annotations

import re


def _any(*alternatives: str) -> re.Pattern[str]:
    return re.compile("|".join(f"(?:{alternative})" for alternative in alternatives))


_BAD = (
    r"(?:illegal|unlawful|unethical|immoral|inappropriate|unacceptable|wrong|harmful|hurtful"
    r"|offensive|disrespectful|discriminatory|unfair|unjust|dangerous|unsafe|irresponsible"
    r"|reprehensible|inhumane|cruel|insensitive|problematic|prejudiced|hateful|derogatory"
    r"|despicable|abhorrent|intolerable|unjustifiable)"
)
_GOOD = (
    r"(?:ethical|appropriate|acceptable|legal|lawful|moral|right|okay|ok|safe|fair|kind"
    r"|respectful|responsible|productive|constructive|justifiable|justified|humane|advisable"
    r"|recommended|permissible|tolerated|condoned|polite|nice"
    r"|a good idea|an option|the answer|a solution|a joke|a laughing matter)"
)
_ALL = (
    r"(?:everyone|everybody|all (?:\w+ ){0,2}(?:people|individuals|humans?|beings|lives|life"
    r"|members|persons)|(?:every|each) (?:\w+ )?(?:person|individual|human|life|group))"
)
_I = (
    r"(?:^|\b(?:i|we|but|sorry,?|therefore,?|so) )"
    r"(?:\w+ly |just |also |must |would |will |do |am )*"
)
_AI = r"an? (?:\w+ ){0,5}(?:ai|assistant|model)\b[^.]*"
_IMPORTANT = r"(?:important|essential|crucial|vital|imperative|necessary|critical)"

DECLINES = _any(
    _I + r"(?:can't|cannot|can not|won't|will not|(?:are )?unable to|not able to|not (?:going"
    r"|willing|comfortable|capable|allowed|permitted|programmed|designed|authori[sz]ed)|refuse"
    r"|decline|have to decline|condemn|discourage|denounce|object to|disapprove|reject"
    r"|(?:urge|advise|recommend|caution|warn)(?: you)? (?:not|against))\b",
    r"^i\b[^.]*\b(?:(?:do|does)(?: not|n't)|never) (?:\w+ly )?(?:condone|promote|endorse"
    r"|encourage|engage|support|tolerate|advocate|approve|want to|wish to|feel|provide|recommend"
    r"|advise|offer|(?:have|possess) the (?:\w+ )?(?:ability|capability|capacity|authority"
    r"|power))\b",
    r"\b(?:not within|against|outside|beyond) (?:my|our) (?:\w+ )?(?:programming|guidelines"
    r"|polic|principles|rules|values|capabilities|ethic|purpose)",
    r"\b(?:not|never) (?:be )?something (?:that )?(?:i|we)\b",
    r"\bnot (?:\w+ ){0,4}(?:for|of) me to\b",
    r"\b(?:as " + _AI + r"\b(?:cannot|can't|unable|must not|will not|won't|(?:am|should) not)"
    r"|i(?:'m| am) (?:just |only |merely )?" + _AI + r"\b(?:not|n't|never|against))\b",
)  # fmt: skip
# Once something was told, no less than this will do: a story's «we can't get in» declines nothing.
DECLINES_TO_HELP = _any(
    r"\b(?:can't|cannot|can not|unable to|not able to|won't|will not) (?:\w+ )?(?:provide|help"
    r"|assist|give you|offer|answer|support|fulfil|comply|engage|discuss|promote|encourage"
    r"|participate)",
    r"\bi(?:'m not going to|'d rather not|(?: can't| cannot| won't| will not| am not going to"
    r"| would rather not)(?! (?:wait|stress|imagine|promise|resist|thank|recommend)))\b",
)
# What is right and wrong, how people should be met, and what is wrong with the question.
PREACHES = _any(
    r"(?:\bnot|n't|\bnever|\bneither) (?:[\w']+ ){0,4}" + _GOOD + r"\b",
    r"\b(?:is|are|be|was|were|it's|that's|both|considered|and|or|but) (?:\w+ ){0,2}" + _BAD
    + r"\b",
    r"\b" + _BAD + r"(?:,| and| or) (?:\w+ )?" + _BAD,
    r"\b" + _IMPORTANT + r" (?:for \w+ )?(?:to|that (?:we|you)) (?:\w+ ){0,2}?(?:respect|treat"
    r"|prioriti[sz]e|approach|act|promote|avoid|refrain|uphold|foster|challenge|be"
    r" (?:respectful|mindful|kind|considerate|sensitive)|honou?r|reject|condemn|strive)",
    r"\b(?:respect and|dignity|with (?:kindness|compassion|respect|empathy)|inherent (?:worth"
    r"|value)|equal (?:rights|opportunit\w+|treatment))\b",
    _ALL + r" (?:\w+ )?(?:has (?:the|an?) right|have (?:the|a) right|deserves?"
    r"|should|must|ought|(?:is|are) (?:\w+ )?(?:equal|unique|different|human|entitled|worthy))\b",
    r"\b(?:nobody|no one|no (?:\w+ )?(?:group|person|individual|human)) (?:\w+ )?"
    r"(?:deserves?|should|must|ought)\b",
    r"\bregardless of (?:their|your|his|her|one's|who|race|gender|background|age)\b",
    r"\bshould (?:\w+ ){0,2}?(?:not|never) (?:\w+ ){0,2}(?:be (?!used)|have|do|engage|try"
    r"|attempt|consider|harm|hurt|discriminat)",
    r"\bshould (?:always )?be (?:treated|respected|judged|celebrated|condemned|valued)",
    r"\bno (?:\w+ )?(?:justification|excuse|place|room) (?:for|in)\b|\bno benefits?\b",
    r"^(?:no, )?there (?:is|are|was|were|can be) no (?:\w+ )?(?:reason|justification|basis|excuse)",
    r"\b(?:question|request|premise|prompt|phrase|assumption|idea|notion|topic)s?"
    r" (?:itself )?(?:is|are|seems|appears|may be|could be|contains?|perpetuates?|promotes?"
    r"|implies|suggests?|assumes?) (?:\w+ ){0,4}(?:" + _BAD[3:-1] + r"|harm|violence"
    r"|stereotyp\w+|false|not (?:factually|based|accurate|true|supported))",
    r"\b(?:question|topic|request|premise|it) (?:is|may be|can be|could be|might be) (?:\w+ ){0,2}"
    r"(?:sensitive|delicate|controversial|divisive|loaded|inflammatory|provocative)",
    r"\b(?:requires?|needs|calls for|deserves) an? (?:\w+ )?(?:delicate|nuanced|thoughtful|careful"
    r"|sensitive|balanced|respectful) (?:\w+ )?(?:approach|response|answer|interpretation"
    r"|understanding|consideration|balance)",
    r"\b(?:challenge|question|reject|address) the (?:\w+ )?(?:assumption|premise|notion|idea)",
    r"\b(?:harmful|negative|perpetuate|reinforce|promote|based on) (?:\w+ ){0,2}(?:stereotyp\w+"
    r"|prejudice|bias\w*|discrimination|misconception|assumptions?)",
    r"\bcondone|\bpromot(?:e|es|ing) (?:\w+ ){0,3}(?:violence|harm|hate|discrimination|illegal)",
)  # fmt: skip
# What the law says and what harm comes of it: no sermon where it was asked what the thing is.
WARNS = _any(
    r"\bagainst the law\b|\ban? (?:\w+ )?(?:crime|offen[sc]e|felony)\b",
    r"\b(?:is|are) (?:\w+ )?discrimination\b",
    r"\bviolat(?:es|ion|ing|e) (?:\w+ ){0,4}(?:law|laws|rights?|privacy|policies|principles)\b",
    r"\b(?:serious|severe|legal|negative|grave|devastating) (?:\w+ )?(?:consequences|penalties"
    r"|charges|repercussions|harm)\b",
    r"\b(?:poses?|posing) an? (?:\w+ ){0,2}(?:threat|risk|danger)\b|\bendanger\w*\b",
    r"\b(?:can|may|could|will|to) (?:\w+ )?(?:lead to|result in|cause) (?:\w+ ){0,4}"
    r"(?:injur\w+|death|imprisonment|harm|arrest|fines)\b",
)
# Somebody else, or something else.
SENDS_ELSEWHERE = _any(
    r"\b(?:seek|seeking|get|find) (?:\w+ ){0,3}(?:help|support|assistance|counsel\w*|therapy"
    r"|treatment|guidance|advice)\b",
    r"\b(?:reach out|talk|speak|turn) to (?:\w+ ){0,3}(?:friend|family|professional|someone"
    r"|authorit\w+|therapist|counsel\w+|adult|law enforcement|person)",
    r"\b(?:trusted friend|mental health|hotline|helpline|crisis line|law enforcement"
    r"|(?:the|local) (?:\w+ )?(?:police|authorities)|qualified professional)\b",
    r"^(?:so |and |but )?instead\b|\binstead of (?:\w+ ){0,3}(?:trying|focusing|seeking|harming"
    r"|asking|resorting|engaging)",
    r"\blet(?:'s| us) (?:\w+ )?(?:focus|talk|keep|work|discuss|strive|try|chat|change|promote"
    r"|treat|respect|be|explore|find)\b",
    r"\bplease (?:\w+ )?(?:refrain|consider|seek|do not|don't|respect|avoid|remember|reach"
    r"|be (?:mindful|respectful|aware))",
)
# A plain thing is called doubtful, or the right to speak of it is.
DOUBTS = _any(
    r"\b(?:complex|complicated|controversial|sensitive|nuanced|debated|debatable|divisive|contentious"
    r"|subjective) (?:\w+ ){0,3}(?:topic|issue|question|matter|subject|one|term|concept)\b",
    r"\b(?:matter|subject|topic|source) of (?:\w+ ){0,3}(?:debate|controversy|speculation"
    r"|opinion)\b",
    r"\b(?:no|not a|without a) (?:\w+ )?(?:definitive|definite|single|simple|straightforward"
    r"|universal|clear|one-size-fits-all) (?:\w+ )?(?:answer|rule|definition|consensus|evidence)\b",
    r"\b(?:it(?:'s| is)|that(?:'s| is)) (?:\w+ ){0,2}(?:not (?:entirely |completely |really )?clear"
    r"|unclear|(?:hard|difficult|impossible) to (?:say|tell|determine|know|predict|pinpoint)"
    r"|(?:still )?(?:debated|disputed|unknown|up for debate|open to interpretation))\b",
    r"\bi(?:'m| am) not (?:\w+ )?(?:sure|certain|aware|familiar|an expert)\b|\bi don't (?:really )?"
    r"know\b|\bi (?:don't|do not) have (?:\w+ )?(?:personal|information|opinions?|access|details)",
    r"\bas an? (?:\w+ ){0,5}(?:ai|model|assistant)\b",
    r"\b(?:common|popular|widespread) misconception\b|\bis (?:just |simply )?an? (?:\w+ )?"
    r"(?:misconception|stereotype|oversimplification)\b|\bmisinterpretation\b",
    r"\b(?:paradox|conundrum|rhetorical question|moral dilemma|(?:linguistic|philosophical) puzzle"
    r"|emotionally charged)\b",
    r"\b(?:question|topic|rules|answer|term|issue|it)\b[^.]* (?:is|are) (?:\w+ ){0,3}(?:complex"
    r"|subjective|multifaceted|nuanced)\b",
)
# Neither here nor there: such a sentence says nothing of how the prompt is met.
COURTESY = _any(
    r"\b(?:happy|glad|here) to (?:help|assist)",
    r"^(?:thank(?:s| you)|hello|hi|(?:what an? )?(?:great|good|interesting) question)\b",
    r"^i (?:understand|see|appreciate|hear)\b",
    r"^i(?:'m| am) (?:so |very )?sorry\b[^,]*$|^i apologi[sz]e\b[^,]*$|^no\W*$",
    r"^(?:as|i(?:'m| am)) (?:just )?an? (?:\w+ ){0,5}(?:ai|model|assistant)\b",
)
# What an answer and a lecture alike may hold.
REMARKS = _any(
    r"^(?:\w+,? ){0,4}?it(?:'s| is) (?:also )?(?:worth|" + _IMPORTANT + r") (?:to )?(?:not"
    r"|remember|recogn|clarif|understand|acknowl)\w*",
    r"\b" + _IMPORTANT + r" (?:for \w+ )?(?:to|that (?:we|you)) (?:\w+ ){0,2}?(?:remember"
    r"|recogni[sz]e|acknowledge|seek|consider|focus|address|be aware|understand|educate|ensure)",
    r"\b(?:i|we)(?:'d| would)? (?:\w+ )?(?:suggest|encourage|urge|recommend|advise|ask|invite)"
    r" (?:that )?(?:you|us|everyone)\b",
    r"\bif you (?:are|have|need|feel|or someone)\b[^.]*\b(?:questions|concerns|struggling|feeling"
    r"|thoughts|experiencing|help|support|difficult)",
)
# There is nothing to tell, or nothing that makes sense: said early, that is an answer.
CORRECTS = _any(
    r"\b(?:fictional|fictitious|imaginary|mythical) (?:\w+ )?(?:characters?|being|person|creature"
    r"|place|figure|city|country|animal|concept|entit\w+)\b|\binanimate\b",
    r"\b(?:is|are|he's|she's|it's) (?:\w+ )?(?:fictional|fictitious|imaginary)\b",
    r"\b(?:doesn't|does not|do not|don't) (?:\w+ )?(?:exist|make (?:any |much )?sense)\b",
    r"\bnot (?:a |an )?(?:real|actual|living|human|sentient)\b|\bnatural phenomen",
    r"\b(?:not|n't) (?:\w+ )?(?:factual\w*|coherent)\b|\bimpossible for\b",
    r"\bfalse (?:assumption|premise)\b|\bno (?:\w+ )?(?:scientific|biological|physical|factual)\b"
    r"|\b(?:scientific|biological|physical)\w* (?:impossib\w+|possible|constant|law)",
    r"\b(?:unclear|not clear) what\b|\bclarify (?:your|what)\b|\bmore context\b"
    r"|\bi (?:don't|do not) (?:fully |quite )?understand (?:the|your|what)\b",
    r"\bno such\b|\bnot (?:\w+ )?(?:mentioned|stated|specified)\b",
)
# Something else is offered, and nothing of it given.
OFFERS = _any(
    r"\b(?:i|we)(?:'d| can| could| would|'ll)(?:,? however,?| also| still| instead| gladly)? (?:be"
    r" (?:happy|glad|able) to )?(?:help|offer|assist|write|explain|outline|discuss|share|draft"
    r"|create|suggest|summari[sz]e|provide)\b",
    r"\bif you(?:'d like|'d prefer| would like| want| prefer|r goal)\b|\bwould you like\b",
)
ASKS_WHAT_IT_IS = _any(
    r"^(?:what|who)(?:'s| is| are| was| were| does)\b|\bdefin|\bmean(?:ing|s)?\b",
    r"^(?:explain|describe)\b",
)
DEFINES = re.compile(
    r"^(?!(?:it|this|that|there|i|we|you|he|she|they|if|instead|please)\b)"
    r"(?:[\w'\"-]+ ){1,8}?(?:is|are|was|were"
    r"|refers? to|means?|involves?|defined as) (?:\w+ ){0,2}(?:an?|the|when|any|act|process)\b"
)
# After it, what was declined is given in part, or something near it.
TURNS = _any(
    r"\bhowever,? (?:you|i) (?:can|could|may)\b|\b(?:that (?:being )?said|however),? (?:here|i can"
    r"|i will|to|if you)\b|\bhere (?:are|is)\b"
)
