'use strict';

const words = { de: 'Guten Tag', en: 'Hello', fr: 'Bonjour' };

/** Return the greeting of a language, or English where there is none. */
exports.greeting = (language) => words[language] ?? words.en;
