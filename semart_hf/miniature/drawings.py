"""The drawings of the miniature's compositions, as text: people, trees, ships and things.

A drawing is a row of gestures: a method of `Sheet` or another drawing, a colour (`own` is the caller's), and numbers
in hundredths. `line` and `bend` begin with their width; a 2 after a gesture repeats it mirrored. People, trees and
things stand on the origin and are 100 high; heads, faces and what goes with them lie around it.
"""

import re

_DRAWINGS = """
halo: oval own-45 0 0 100 100; oval own+55 0 0 92 92; oval own-20 0 0 82 82; oval own+55 0 0 77 77
head: oval own 0 -15 118 142; oval flesh-32 0 8 86 112; oval flesh -10 4 74 104; oval flesh+40 -30 -15 34 50;
    oval dark -36 -5 13 8; oval dark 28 -5 13 8; line flesh-32 12 -3 0 6 36; line cloth0/flesh-20 14 -22 62 18 62
woman: curve own -17 0 -13 -36 -15 -66 -5 -81 5 -81 15 -66 13 -36 17 0; fill own -15 -4 15 -4 15 0 -15 0;
    bend own+30 2 -6 -55 -8 -30 -12 -1; bend own+30 2 -2 -55 -3 -30 -4 -1; bend own-35 2 2 -55 4 -30 5 -1;
    bend own-35 2 6 -55 8 -30 13 -1; line2 own-22 5.5 12 -71 13.5 -58 2 -52; oval flesh 0 -52.5 3.4 3.2;
    head ground-55~ 0 -88.5 7.8
saint: halo gold 0 -89 15; woman own 0 0 100
madonna: halo gold 0 -21 15;
    curve own -36 52 -30 26 -20 2 -13 -10 -10.5 -22 -5 -31 5 -31 10.5 -22 13 -10 20 2 30 26 36 52;
    curve cloth0/cloth1 -6 -10 6 -10 10 10 14 50 -14 50 -10 10; bend own+28 1.3 -9 4 -14 25 -19 50;
    bend own+28 1.3 -14 4 -21 25 -28 50; bend2 own-40 1.3 9 4 14 25 19 50; bend own-40 1.3 14 4 21 25 28 50;
    bend2 gold 1 -13 -10 -9 10 -15 50; fill own -8 -21 8 -21 12 -4 -12 -4; head own 1 -20 6.8; halo gold 12 -5 7.8;
    ball flesh+50 10.5 10 6.2 9; head gold-40 11.2 -4.5 4.3; bend own+18 6 -15 5 -5 17 10 17; oval flesh 12 16.5 3 2
crucified: line ground-55 6 0 -47 0 42; line ground-55 5.5 -28 -29 28 -29; blob stone-30 0 44 13;
    halo gold 0 -31 10; bend flesh-30 3.4 -24 -30 -10 -23 0 -21 10 -23 24 -30;
    bend flesh 2.4 -24 -30.5 -10 -23.5 0 -21.5 10 -23.5 24 -30.5;
    curve flesh-30 -7.5 -22 7.5 -22 5 -6 6 4 -5 4 -4.5 -6; curve flesh -7.5 -22 5.5 -22 3 -6 4 4 -5 4 -4.5 -6;
    bend flesh-15 5.5 0 2 2.5 18 0 34; curve light -7 0 7.5 -1 10 11 0 8 -6 10; head ground-70 1 -30 4.8
arch: fill gold-50 0 0 50 0 50 2.5 41 3.3 32 5.7 24 9.5 16.8 14.7 11 21 6.6 28.1 4 36 3 44 0 44;
    bend gold+35 1.6 50 2.5 32 5.7 16.8 14.7 6.6 28.1 3 44; line gold-15 4 2 44 2 140; line gold+40 1 1.4 44 1.4 140;
    oval gold+20 10 10 4.5 4.5; oval gold-50 10 10 3.3 3.3
body: curve own -3 -82 -10 -78.5 -6.5 -63 -10.5 -50 -7.5 -27 -5 -5 -8.5 0 -2 0 -1 -26 0 -42 6 -27 3 -6 9 -1.5 7.5 -8
    12.5 -29 10 -50 6 -63 10 -78.5 3 -82; line own 5 0 -80 0 -88; bend own 4.5 -8 -77 -19 -83 -29 -95;
    bend own 4.5 8 -77 17 -63 28 -50
nymph: bend own-20 11 -34 -92 -25 -66 -6 -47 14 -50 36 -26; body flesh-40 1.6 0 100; body flesh 0 0 100;
    glow light -3 -66 9 20 45; glow light -5 -36 6 20 30; curve own -13 -56 0 -50 13 -53 15 -36 3 -40 -12 -46;
    bend own+40 1.5 -11 -52 0 -46 12 -48; head gold-35~ -0.5 -90.5 6.2
drinker: curve own -25 0 -23 -50 -15 -66 -6 -74 6 -74 15 -66 23 -50 25 0;
    curve own-35 5 -72 16 -66 23 -50 25 0 10 0; oval light 0 -72 12.5 5; head ground-55~ 0 -85.5 11;
    bend own-15 9 -18 -60 -20 -30 2 -20; oval flesh 2 -20 5.2 4.6
soldier: fill own -28 0 -24 -62 24 -62 28 0; fill own-40 5 0 6 -62 24 -62 28 0; line own+50 6 -20 -58 20 -10;
    oval flesh 0 -74 15 17; ball stone+40 0 -84 19 14
banner: line ground-80 2.2 0 0 0 -100; curve own 0 -100 14 -96 28 -101 42 -97 42 -83 28 -87 14 -82 0 -86;
    curve light 0 -86 14 -82 28 -87 42 -83 42 -69 28 -73 14 -68 0 -72
tree: bend ground-70 5.5 0 0 1 -30 3 -65; line ground-70 3 1 -30 15 -55; blob own-45 -11 -57 34;
    blob own-45 22 -59 34; blob own-45 5 -77 34; blob own -16 -60 31; blob own 17 -62 31; blob own 0 -80 31;
    blob own+30 -23 -64 21; blob own+30 9 -66 21; blob own+30 -7 -84 21
mill: fill stone-35 -22 0 -13 -70 13 -70 22 0; fill stone-70 -17 -68 0 -90 17 -68; line dark+15 6 -43 -101 43 -43;
    line dark+15 6 -29 -29 29 -115
temple: fill stone-45 -50 -61 50 -61 50 0 -50 0; line2 stone+30 8.5 44 0 44 -58; line2 stone+30 8.5 22 0 22 -58;
    line stone+30 8.5 0 0 0 -58; fill stone+30 -56 -67 56 -67 56 -58 -56 -58; fill stone+15 -58 -67 0 -92 58 -67;
    fill stone-45 -43 -69 0 -87 43 -69; fill stone+10 -55 0 55 0 60 8 -60 8
sail: fill stone+70~ -55 -50 55 -50 95 0 75 50 -50 50; line stone+30 6 55 -50 95 0 75 50
boat: fill ground-70 -62 -26 0 -18 68 -30 46 0 -42 0; bend gold 4.5 -60 -22 0 -15 64 -25; sail stone 0 -70 60
warship: line ground-70 3.5 -32 -20 -32 -112; line ground-70 3.5 36 -20 36 -108; line ground-70 3.5 4 -20 4 -138;
    fill ground-70 -62 -26 0 -18 68 -30 46 0 -42 0; bend gold 4.5 -60 -22 0 -15 64 -25; sail stone -32 -46 30;
    sail stone -32 -82 28; sail stone 36 -46 30; sail stone 36 -80 28; sail stone 4 -56 33; sail stone 4 -96 30;
    fill own -32 -114 -12 -117 4 -110 -32 -101; fill own 4 -139 24 -142 40 -135 4 -126
jug: bend own-40 7 14 -80 44 -82 52 -56 30 -36; fill own-15 -17 -98 17 -98 14 -70 20 0 -20 0 -14 -70;
    ball own 0 -38 36 38; line own+40 7 -6 -92 -6 -72; oval own-50 0 -98 19 5
glass: oval stone+80 0 -2 20 5; line stone+80 4 0 0 0 -45; curve stone-20 -20 -95 20 -95 21 -66 0 -42 -21 -66;
    curve cloth0-20 -19 -76 19 -76 18 -62 0 -45 -18 -62; line light 4.5 -12 -88 -13 -62
flower: oval2 own~ 60 0 50 50; oval2 own~ 30 52 50 50; oval2 own~ 30 -52 50 50; oval own-45 0 0 40 40
fruit: glow dark 2 12 28 5 50; oval stone-30 0 11 25 4.5; oval stone+50 0 10 24 3.8; ball cloth0~ -12 5 6.8 6.8;
    ball cloth1~ 12 5 6.8 6.8; ball gold~ 0 5.5 7 7; ball foliage/gold~ -6 -2.5 6.6 6.6;
    ball cloth2~ 6 -2.5 6.8 6.8; ball own 0 -9 6.8 6.8; line foliage-30 1 0 -15 2 -19;
    curve foliage 2 -18 7 -21 11 -19 6 -17
bust: curve own -50 60 -45 20 -30 5 -10 -5 10 -5 30 5 45 20 50 60; curve own-40 10 0 30 5 45 20 50 60 14 60;
    bend own+22 1.4 -22 9 -34 25 -40 60; bend own+22 1.4 -14 9 -22 25 -26 60; bend own-45 1.4 14 9 22 25 26 60;
    bend own-45 1.4 22 9 34 25 40 60; ball gold 0 14 1.3 1.3; ball gold 0 21 1.3 1.3; ball gold 0 28 1.3 1.3;
    ball gold 0 35 1.3 1.3
ruff: oval light/stone-30 0 -4 25 8; oval light/stone 0 -5.5 24 7; line2 light/stone-35 0.6 7 -6 23 -8;
    line2 light/stone-35 0.6 7 -4.5 24 -4; line2 light/stone-35 0.6 6 -2 18 0.5;
    line2 light/stone-35 0.6 3 -1 8 2.5; oval light/stone 0 -7 15 4.3
collar: fill light/stone 0 -8 -19 -3 -15 10 -1 4; fill light/stone-20 0 -8 19 -3 15 10 1 4
pearls: curve flesh -16 -5 16 -5 11 9 -11 9; ball light 0 5 1.5 1.5; ball2 light 3 4.8 1.5 1.5;
    ball2 light 6 4 1.5 1.5; ball2 light 9 2.9 1.5 1.5; ball2 light 12 1.2 1.5 1.5
face: oval own 0 -22 110 132;
    curve flesh-40 -84 -30 -78 45 -40 105 0 124 42 105 80 45 84 -30 0 -100;
    curve flesh-22 -83 -24 -77 45 -42 102 -4 120 36 102 71 46 75 -24 -4 -90;
    curve flesh -80 -20 -73 42 -44 94 -12 110 20 94 50 42 54 -20 -12 -82; glow flesh+50 -30 -30 60 60 75;
    glow cloth0 -42 38 36 30 22; glow cloth0 36 40 30 26 16;
    curve own -95 10 -90 -70 -20 -125 70 -100 95 -30 90 15 60 -55 -10 -85 -70 -50; oval flesh+70 -38 0 18 10;
    oval flesh+70 30 0 18 10; oval dark -40 0 9 10; oval dark 28 0 9 10; bend flesh-45 5 -58 -6 -38 -12 -18 -4;
    bend flesh-45 5 10 -6 30 -12 50 -4; bend own/flesh-30 7 -60 -20 -38 -28 -16 -20;
    bend own/flesh-30 7 8 -20 30 -28 52 -20; bend flesh-30 8 -6 -10 3 34 -10 44;
    bend cloth0/flesh-20 11 -26 72 -5 69 18 71; line cloth0/flesh-55 3 -20 72 14 71.5
neck: line flesh-25 90 0 80 -10 200
locks: curve own -120 -120 0 -170 125 -110 150 60 110 170 -110 170 -145 60
hat: curve own-20 -160 -62 0 -98 160 -66 0 -62; curve own -98 -76 -85 -150 0 -172 85 -150 98 -78;
    bend gold-30 12 -98 -84 0 -93 98 -86
plume: bend light/own 22 70 -95 115 -150 160 -145 175 -105
cap: oval own 0 0 21 4; oval own 0 -5 11.5 7.5
table: line2 own-60 4.5 42 10 42 32; fill own+30 -44 0 44 0 52 8 -52 8; fill own-50 -52 8 52 8 52 12 -52 12
shell: curve own -34 0 -30 -7 -17 -14 0 -16 17 -14 30 -7 34 0; line2 own-35 1 0 0 30 -6; line2 own-35 1 0 0 22 -11;
    line2 own-35 1 0 0 8 -15
room: fill own-60 6 -17 22 -17 22 12 6 12; fill horizon/light 9 -13 22 -13 22 12 9 12;
    fill gold -15 -21 -1 -21 -1 -8 -15 -8; fill distance-30 -13 -19 -3 -19 -3 -10 -13 -10;
    glow light -12 34 36 16 45
"""
DRAWINGS = dict(drawing.split(":", 1) for drawing in re.split(r"\n(?=\w)", _DRAWINGS.strip()))
