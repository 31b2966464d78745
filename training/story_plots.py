"""The story templates: what can happen, in which order, and in which words.

A plot is a sequence of beats; a beat is a choice of sentences. A slot in braces is filled from the
story's own cast, so a name, a pronoun or an object never changes on the way; `training.stories`
does the choosing. A slot written with a capital (`{She}`) starts a sentence.
"""

from __future__ import annotations

from dataclasses import dataclass

Beat = tuple[str, ...]

ONCE = (
    "One morning,", "One evening,", "One day,", "One afternoon,",
    "Once upon a time,", "Long ago,", "On Sunday,", "Last summer,", "One fine day,",
)  # fmt: skip
"""Openings that go straight to what happened."""

ALWAYS = ("Every day,", "Every morning,", "Every summer,", "Every week,")
"""Openings that tell a habit first."""

HABITS = (
    "helped {her} {elder} with the work.",
    "played in the garden with {her} {elder}.",
    "read a good book to {her} {elder}.",
    "learned something new from {her} {elder}.",
)
TURN = ("One day, {she}", "But one day, {she}")
"""How a habit turns into the plot's opening."""


@dataclass(frozen=True, slots=True)
class Plot:
    """One kind of story: its opening words follow the time and the hero's name."""

    name: str
    opening: Beat
    beats: tuple[Beat, ...]


WET_PATH = Plot(
    "wet path",
    (
        "walked to the {place} with {her} {color} {toy}.",
        "went to the {place} to play with {her} {color} {toy}.",
        "wanted to show {her} {color} {toy} to the children {at_place}.",
    ),
    (
        (
            "It had rained all night, and the path was still wet.",
            "It was raining, so the path to the {place} was wet and full of mud.",
            "Dark clouds came, and soon it rained so hard that the path was wet.",
        ),
        (
            "{She} did not look down, so {she} slipped and fell.",
            "{She} ran too fast, slipped on a stone and fell.",
            "Because the path was wet, {she} slipped and hurt {her} knee.",
        ),
        (
            "The {toy} flew out of {her} hands, and {hero} began to cry.",
            "{Her} {toy} fell into the mud, and {hero} was very sad.",
            "{She} dropped the {toy}, and nobody seemed to hear {him} cry.",
        ),
        (
            "A {fchild} named {friend} saw {him} and came to help.",
            "Then a {fchild} named {friend} heard {him} and ran to {her} side.",
        ),
        (
            '"Do not worry," said {friend}. "Take my hand."',
            '"Are you hurt?" asked {friend}. "Let me help you."',
            '"Please do not cry," said {friend}. "I will help you."',
        ),
        (
            "{Fshe} helped {hero} to stand up and cleaned the {color} {toy} with a soft cloth.",
            "{Fshe} gave {hero} {fher} hand, and together they found the {color} {toy}.",
            "{Fshe} picked up the {color} {toy} and gave it back to {hero}.",
        ),
        (
            "{Hero} smiled and thanked {fhim}.",
            '"Thank you," said {hero}. "You are very kind."',
        ),
        (
            "They walked slowly to the {place} and played with the {toy} until the sun went down.",
            "When the rain stopped, they played with the {toy} {at_place} for a long time.",
        ),
        (
            "From that day on, {hero} and {friend} were best friends.",
            "After that, {hero} and {friend} met {at_place} every week.",
            "That is how {hero} and {friend} became good friends.",
        ),
        (
            "And when it rained, {hero} always walked with care.",
            "And {hero} never ran on a wet path again.",
        ),
    ),
)

LOST_IN_WIND = Plot(
    "lost in the wind",
    (
        "put on {her} {color} {cloth} and went to the {place}.",
        "wore a new {color} {cloth} and walked to the {place}.",
    ),
    (
        (
            "The {cloth} was a gift from {her} {elder}, and {she} loved it very much.",
            "{Her} {elder} had made the {cloth} for {him}, so {she} was very proud of it.",
        ),
        (
            "Suddenly a strong wind began to blow.",
            "The sky was grey, and a cold wind blew over the {place}.",
        ),
        (
            "It took the {cloth} and carried it high into a tree.",
            "It blew the {cloth} away, and it stayed at the top of a tall tree.",
        ),
        (
            "{Hero} jumped and jumped, but {she} could not reach it.",
            "{Hero} tried to climb the tree, but {she} was too small.",
            "{Hero} threw a stick at it, but the {cloth} did not move.",
        ),
        (
            "{Her} friend {friend} was {at_place} too and saw that {hero} was sad.",
            "Just then {her} friend {friend} came to the {place} and asked what was wrong.",
        ),
        (
            '"My {cloth} is in the tree," said {hero}.',
            '"The wind took my {color} {cloth}," said {hero}.',
        ),
        (
            '"I have an idea," said {friend}, and {fshe} ran to get a long ladder.',
            '"Wait here," said {friend}, and {fshe} came back with a long ladder.',
        ),
        (
            "{Hero} held the ladder while {friend} climbed up and took the {cloth}.",
            "{Friend} climbed up step by step while {hero} held the ladder.",
        ),
        (
            "At last {fshe} came down and put the {color} {cloth} in {her} hands.",
            "Soon {fshe} came down with the {color} {cloth}.",
        ),
        (
            '"Thank you, {friend}," said {hero}, and {she} was happy again.',
            "{Hero} was so happy that {she} danced and laughed.",
        ),
        (
            "Then they went home together, and {her} {elder} gave them warm {dish}.",
            "To thank {fhim}, {hero} shared {her} {food} with {friend}.",
        ),
        (
            "After that, {hero} always held {her} {cloth} when the wind blew.",
            "Since then, {hero} has never forgotten what a good friend can do.",
        ),
    ),
)

LOST_ANIMAL = Plot(
    "lost animal",
    (
        "was walking near the {place} when {she} heard a strange sound.",
        "heard a soft cry on the way to the {place}.",
    ),
    (
        (
            "Behind a bush, {she} found a little {fur} {animal}.",
            "Under a tree, {she} saw a little {fur} {animal}.",
        ),
        (
            "It was cold and hungry, and it had lost its way.",
            "It was alone and afraid, and its leg was hurt.",
        ),
        (
            '"Poor {animal}," said {hero}. "I will take care of you."',
            '"Do not be afraid," said {hero}. "I will help you."',
        ),
        (
            "{She} put the {animal} in {her} basket and carried it home.",
            "{She} held the {animal} in {her} arms and took it home.",
        ),
        (
            "{Her} {elder} made a warm bed for it and gave it some food and water.",
            "{Her} {elder} gave it water to drink and an old coat to sleep on.",
        ),
        (
            "The next day, the {animal} was strong and wanted to play.",
            "After three days, the {animal} was well again.",
        ),
        (
            "{Hero} wanted to keep it, but {she} knew that somebody missed it.",
            '"Somebody must be looking for it," said {her} {elder}, and {hero} knew it was true.',
        ),
        (
            "So {she} asked at every house in the village.",
            "So {she} went from door to door and asked everyone.",
        ),
        (
            "At the last house, a {fchild} named {friend} opened the door and cried with joy.",
            "At last {she} met a {fchild} named {friend}, who was looking for a {fur} {animal}.",
        ),
        (
            '"That is my {animal}!" said {friend}. "I looked for it everywhere."',
            '"You found my {animal}!" said {friend}. "Thank you so much."',
        ),
        (
            "To thank {hero}, {fshe} gave {him} a {gift} and a big hug.",
            "{Friend} was so happy that {fshe} gave {hero} a {color2} {gift}.",
        ),
        (
            "Now {hero} visits {friend} every week, and they play with the {animal}.",
            "From that day on, {hero} and {friend} walked with the {animal} by the {place}.",
        ),
    ),
)

BAD_CAKE = Plot(
    "second try",
    (
        "wanted to make some {food} for {her} {elder}.",
        "decided to cook {food} as a surprise for {her} {elder}.",
    ),
    (
        (
            "{She} went to the market and bought {fruit}, milk and flour.",
            "{She} took a basket and bought fresh {fruit} at the market.",
        ),
        (
            "{She} worked in the kitchen for an hour, but {she} did not read the book.",
            "{She} was in a hurry and did not look at the fire.",
        ),
        (
            "So the {food} burned, and the kitchen was full of smoke.",
            "Because of that, the {food} was black and tasted very bad.",
        ),
        (
            "{Hero} sat down on the floor and cried.",
            "{Hero} was sad and wanted to give up.",
        ),
        (
            "Then {her} friend {friend} came in and saw the {food}.",
            "Just then there was a knock at the door, and it was {her} friend {friend}.",
        ),
        (
            '"Everyone makes mistakes," said {friend}. "Let us try again."',
            '"It is only {food}," said {friend}. "We can make it again together."',
        ),
        (
            "They washed the {fruit} and put them in a bowl.",
            "{Friend} read the book, and {hero} washed the {fruit}.",
        ),
        (
            "This time they waited and watched the fire.",
            "This time {hero} was slow and did every step with care.",
        ),
        (
            "Soon the {food} smelled sweet and looked wonderful.",
            "After an hour, the {food} was ready, and it smelled very good.",
        ),
        (
            "When {her} {elder} came home, {eshe} could not believe {eher} eyes.",
            "Later {her} {elder} came home and tasted it.",
        ),
        (
            '"This is the best {food} of my life," said {her} {elder}.',
            '"How wonderful!" said {her} {elder}. "Thank you both."',
        ),
        (
            "They sat at the table and ate the {food} together.",
            "{Hero}, {friend} and the {elder} shared the {food} and laughed.",
        ),
        (
            "{Hero} learned that a mistake is not the end.",
            "Since that day, {hero} has never been afraid to try again.",
        ),
    ),
)

BROKEN_THING = Plot(
    "the truth",
    (
        "was playing with a {toy} in the house of {her} {elder}.",
        "threw a {color} {toy} in the kitchen of {her} {elder}.",
    ),
    (
        (
            "There was a {color2} {vessel} on the table.",
            "On the table stood a {color2} {vessel} with fresh {flower}.",
        ),
        (
            "The {toy} hit the {vessel}, and it fell down and broke.",
            "The {toy} flew too far, and the {vessel} fell on the floor and broke.",
        ),
        (
            "{Hero} was afraid and hid behind the door.",
            "{Hero} did not know what to do, so {she} hid the pieces in a box.",
        ),
        (
            "That night {she} could not sleep, because {she} felt bad.",
            "All day {she} was quiet and could not eat.",
        ),
        (
            "In the end {she} told {her} friend {friend} about it.",
            "At last {she} went to {her} friend {friend} and told {fhim} everything.",
        ),
        (
            '"You must tell the truth," said {friend}. "I will go with you."',
            '"Tell the truth," said {friend}. "It will make you feel better."',
        ),
        (
            "So {hero} went to {her} {elder} and said that {she} was sorry.",
            'So {hero} took a deep breath. "I broke your {vessel}," {she} said. "I am sorry."',
        ),
        (
            "The {elder} was not angry and held {her} hand.",
            "The {elder} looked at {him} and smiled.",
        ),
        (
            '"Thank you," said the {elder}. "The truth is worth more than any {vessel}."',
            '"I am glad that you told me," {eshe} said. "We can fix it together."',
        ),
        (
            "{Hero}, {friend} and the {elder} put the pieces together with glue.",
            "They fixed the {color2} {vessel} with glue, and {friend} painted a star on it.",
        ),
        (
            "Then they put {flower} in it and placed it near the window.",
            "Now it stands near the window, and everyone can see it.",
        ),
        (
            "After that, {hero} played with the {toy} only in the garden.",
            "And {hero} always told the truth, even when it was hard.",
        ),
    ),
)

LOST_IN_FOG = Plot(
    "light in the fog",
    (
        "walked far past the {place} to look for {fruit}.",
        "went to the {place} to find some {fruit}.",
    ),
    (
        (
            "{She} took a basket and a {color} {toy} with {him}.",
            "{She} carried {her} {color} {toy} and an empty basket.",
        ),
        (
            "{She} found so many {fruit} that {she} forgot the time.",
            "Soon the basket was full of {fruit}, and {she} wanted to go home.",
        ),
        (
            "But a thick fog came, and {she} could not see the way.",
            "But it grew dark, and {she} lost {her} way.",
        ),
        (
            '"Where am I?" {she} said, and {she} was afraid.',
            "{She} called for help, but nobody heard {him}.",
        ),
        (
            "Then {she} saw a small light between the trees.",
            "After a long time, {she} saw a light far away.",
        ),
        (
            "{She} followed the light and came to the house of {a_helper}.",
            "The light came from the window of {a_helper}, so {she} knocked at the door.",
        ),
        (
            '"Come in," said the {helper}. "You must be cold and hungry."',
            '"Poor child," said the {helper}. "Sit by the fire and rest."',
        ),
        (
            "{Hshe} gave {hero} hot {dish} and a cup of tea.",
            "{Hshe} gave {him} a warm coat and some {dish}.",
        ),
        (
            "Then {hshe} took a lantern and walked home with {him}.",
            "When {hero} was warm, {hshe} showed {him} the way home.",
        ),
        (
            "At the door, {her} {elder} was waiting and took {him} in {eher} arms.",
            "{Her} {elder} was so glad to see {him} that {eshe} cried with joy.",
        ),
        (
            "{Hero} gave the {helper} half of the {fruit} to thank {hhim}.",
            "To thank the {helper}, {hero} gave {hhim} the basket of {fruit}.",
        ),
        (
            "After that, {hero} never went to the {place} alone in the evening.",
            "Now {hero} visits the {helper} every Sunday with {her} {toy}.",
        ),
    ),
)

ONE_TOY = Plot(
    "taking turns",
    (
        "found a {color} {toy} {at_place}.",
        "saw a {color} {toy} in the grass near the {place}.",
    ),
    (
        (
            "At the same time, a {fchild} named {friend} saw it too.",
            "But a {fchild} named {friend} wanted the same {toy}.",
        ),
        (
            '"It is mine," said {hero}. "No, it is mine," said {friend}.',
            '"I saw it first," said {hero}. "No, I did," said {friend}.',
        ),
        (
            "They both pulled, and the {toy} nearly broke.",
            "{Hero} pulled on one side, and {friend} pulled on the other side.",
        ),
        (
            "{A_helper} heard the noise and came to see what was wrong.",
            "Just then {a_helper} came along and looked at the two children.",
        ),
        (
            '"If you pull, it will break, and nobody can play," said the {helper}.',
            '"A {toy} is more fun for two," said the {helper}. "Can you take turns?"',
        ),
        (
            "{Hero} thought about it and felt bad.",
            "{Hero} and {friend} looked at the {toy} and were quiet.",
        ),
        (
            '"You can have it first," said {hero} to {friend}.',
            '"I am sorry," said {hero}. "Let us share it."',
        ),
        (
            "{Friend} smiled and gave {hero} some of {fher} {food}.",
            '"Thank you," said {friend}. "Tomorrow it will be your turn."',
        ),
        (
            "So they took turns and played with the {color} {toy} for a long time.",
            "So they played together with the {color} {toy} and laughed until they were tired.",
        ),
        (
            "When it was time to go home, they hid the {toy} under a big stone.",
            "In the evening they put the {toy} in a box and hid it under a tree.",
        ),
        (
            "The next day, they met {at_place} and played again.",
            "Every day after school, they met {at_place} to play.",
        ),
        (
            "They never fought about the {toy} again, because sharing made them friends.",
            "{Hero} and {friend} had found something better than a {toy}, and that was a friend.",
        ),
    ),
)

GARDEN = Plot(
    "dry garden",
    (
        "planted {flower} in the garden behind the house.",
        "got some seeds from {her} {elder} and planted {flower}.",
    ),
    (
        (
            '"Give them water every day," said {her} {elder}, "and they will grow."',
            '"They need water and sun," said {her} {elder}. "Do not forget them."',
        ),
        (
            "For a week {hero} gave them water, but then {she} forgot.",
            "At first {hero} took good care of them, but soon {she} only played with {her} {toy}.",
        ),
        (
            "The sun was hot, and no rain fell, so the ground was dry.",
            "The days were hot, and soon the ground was as hard as stone.",
        ),
        (
            "When {she} came back to the garden, the {flower} were nearly dead.",
            "Because they had no water, the {flower} were brown and weak.",
        ),
        (
            '"It is too late," {she} said to {her} friend {friend}.',
            "{Hero} felt bad and ran to {her} friend {friend} for help.",
        ),
        (
            '"Maybe we can save them," said {friend}. "Let us bring water from the river."',
            "{Friend} had a big can, and they brought water from the lake.",
        ),
        (
            "Every morning and every evening, {hero} and {friend} gave water to the {flower}.",
            "They worked all week, and {friend} made a roof of leaves for the {flower}.",
        ),
        (
            "One day {hero} saw a small green leaf.",
            "After many days, there was a new green leaf.",
        ),
        (
            "Soon the garden was full of {color} {flower}.",
            "Then the {flower} opened, and they were {color} and beautiful.",
        ),
        (
            "{Her} {elder} saw the {color} {flower} and was very proud.",
            '"What a beautiful garden!" said {her} {elder}.',
        ),
        (
            "{Hero} gave the first {flower} to {friend} to thank {fhim}.",
            "To thank {fhim}, {hero} put some {flower} in a {vessel} for {friend}.",
        ),
        (
            "{Hero} learned that what we love needs care every day.",
            "Since then, {hero} has never forgotten to give them water.",
        ),
    ),
)

OLD_KEY = Plot(
    "the old key",
    (
        "found an old key under a stone near the {place}.",
        "saw something shine near the {place}, and it was an old key.",
    ),
    (
        (
            '"What does it open?" {she} asked {her} friend {friend}.',
            "{She} showed it to {her} friend {friend}, who liked secrets.",
        ),
        (
            "They tried the key at the door of the school, but it was too small.",
            "They tried it at every door in the village, but it did not fit.",
        ),
        (
            "Then {friend} asked {a_helper}, and {hshe} laughed.",
            "{A_helper} saw the key and knew it at once.",
        ),
        (
            '"That key is from the house of your {elder}," said the {helper} to {hero}.',
            '"Your {elder} lost that key long ago," {hshe} said to {hero}.',
        ),
        (
            "So {hero} and {friend} ran to the {elder} as fast as they could.",
            "They thanked the {helper} and ran to the {elder}.",
        ),
        (
            "The {elder} took the key with a smile and brought an old box.",
            "When the {elder} saw the key, {eshe} was full of joy and brought a wooden box.",
        ),
        (
            "{Hero} turned the key, and the box opened.",
            "The key fit, and slowly {hero} opened the box.",
        ),
        (
            "Inside there was a {color} {toy} and a letter.",
            "In the box was a {color} {toy}.",
        ),
        (
            '"This was my {toy} when I was a child," said the {elder}. "Now it is yours."',
            '"I played with this {toy} when I was small," {eshe} said. "You may have it."',
        ),
        (
            "{Hero} thanked {ehim} and promised to take good care of it.",
            '"Thank you," said {hero}, and {she} gave {ehim} a big hug.',
        ),
        (
            "Then {hero} and {friend} played with the {color} {toy} in the garden.",
            "All evening, {hero} and {friend} played with the {toy} by the fire.",
        ),
        (
            "And {hero} put the old key on a {color2} ribbon and kept it for ever.",
            "And the old key stayed in the pocket of {hero} for many years.",
        ),
    ),
)

AFRAID = Plot(
    "step by step",
    (
        "stood at the {water} and watched the other children swim.",
        "went to the {water}, but {she} did not go into the water.",
    ),
    (
        (
            "{She} was afraid, because {she} could not swim.",
            "{She} wanted to swim too, but the water was cold and deep.",
        ),
        (
            "{Her} friend {friend} saw that {she} was alone and sat down next to {him}.",
            "Then {her} friend {friend} came out of the water and asked what was wrong.",
        ),
        (
            '"I am afraid of the water," said {hero}.',
            '"I cannot swim," said {hero}, and {she} looked at the ground.',
        ),
        (
            '"I was afraid too," said {friend}. "I can teach you, step by step."',
            '"Nobody can do it on the first day," said {friend}. "I will show you."',
        ),
        (
            "The first day, {hero} only put {her} feet in the water.",
            "On the first day, {hero} held the hand of {friend} and stood in the water.",
        ),
        (
            "On the second day, {she} went in up to {her} knees.",
            "The next day, {she} put {her} face in the water and laughed.",
        ),
        (
            "{Friend} never laughed at {him} and never let go of {her} hand.",
            "{Friend} stayed at {her} side and told {him} to breathe.",
        ),
        (
            "After a week, {hero} could swim like a {swimmer}.",
            "One day {friend} let go, and {hero} did not even notice that {she} was swimming.",
        ),
        (
            "Then the {color} {toy} of a little child fell into the {water}.",
            "That same day, a little child lost a {color} {toy} in the {water}.",
        ),
        (
            "{Hero} was not afraid, so {she} swam out and brought the {toy} back.",
            "Without a word, {hero} jumped in and got the {color} {toy}.",
        ),
        (
            "The child was happy, and everyone at the {water} was proud of {hero}.",
            '"Thank you!" said the child, and {friend} was very proud of {hero}.',
        ),
        (
            "{Hero} thanked {friend}, because without {fhim} {she} would still be afraid.",
            "That evening {hero} told {her} {elder} that a good friend makes us brave.",
        ),
    ),
)

PLOTS = (
    WET_PATH, LOST_IN_WIND, LOST_ANIMAL, BAD_CAKE, BROKEN_THING,
    LOST_IN_FOG, ONE_TOY, GARDEN, OLD_KEY, AFRAID,
)  # fmt: skip
