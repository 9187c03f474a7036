// Table of differences. Rows and events are in the JSON of the script element before this one.
(function(){
var box=document.currentScript.closest('.pt-diff'),data=JSON.parse(box.querySelector('script').textContent);
var body=box.querySelector('tbody'),out=box.querySelector('output'),more=box.querySelector('button');
var part=function(n){return box.querySelector('[data-part='+n+']')};
var show=part('show'),cause=part('cause'),find=part('find'),heads=box.querySelectorAll('th');
var key='n',up=true,shown=50,open=null;
function cell(row,text,kind){var td=row.insertCell();td.className='pt-'+kind;td.textContent=text;return td}
function wanted(){
 var text=find.value.toLowerCase();
 return data.rows.filter(function(r){
  if(show.value==='roots'&&r.n!==r.root)return false;
  if(show.value!=='all'&&!r.n)return false;
  if(show.value==='roots'&&!r.n)return false;
  if(cause.value&&r.cause!==cause.value)return false;
  return !text||(r.text+' '+r.cause).toLowerCase().indexOf(text)>=0});
}
function sorted(rows){
 return rows.slice().sort(function(a,b){
  var x=a[key],y=b[key],c;
  if(key==='pnl'){x=Math.abs(x);y=Math.abs(y)}
  c=x<y?-1:x>y?1:a.n-b.n;return up?c:-c});
}
function events(row,r){
 var tr=document.createElement('tr');tr.className='pt-events';
 var td=tr.insertCell();td.colSpan=6;
 var sides=document.createElement('div');sides.className='pt-sides';
 ['shadow','live'].forEach(function(name,i){
  var side=document.createElement('div'),b=document.createElement('strong');b.textContent=name;side.appendChild(b);
  var ol=document.createElement('ol');
  r.places[i].forEach(function(p){var li=document.createElement('li');li.textContent=data.events[i][p];ol.appendChild(li)});
  if(!r.places[i].length){var none=document.createElement('div');none.textContent='no events';side.appendChild(none)}
  side.appendChild(ol);sides.appendChild(side)});
 td.appendChild(sides);row.parentNode.insertBefore(tr,row.nextSibling);return tr;
}
function draw(){
 var rows=sorted(wanted());body.textContent='';open=null;
 rows.slice(0,shown).forEach(function(r){
  var tr=body.insertRow();if(r.n&&r.n===r.root)tr.className='pt-root';tr.tabIndex=0;
  cell(tr,r.n||'','int');cell(tr,r.cause||'none','text');
  cell(tr,r.text+(r.follow?' ('+r.follow.toLocaleString('en')+' consequences)':''),'text pt-what');
  cell(tr,r.at,'text');cell(tr,r.n?(r.pnl>0?'+':'')+r.pnl.toLocaleString('en',{minimumFractionDigits:2,maximumFractionDigits:2}).replace('-','\u2212'):'','float');
  cell(tr,r.n&&r.n!==r.root?r.root:'','int');
  function toggle(){var was=open;if(open){open.tr.remove();open=null}
   if(!was||was.row!==tr)open={row:tr,tr:events(tr,r)}}
  tr.onclick=toggle;tr.onkeydown=function(e){if(e.key==='Enter')toggle()};
 });
 out.textContent=Math.min(shown,rows.length).toLocaleString('en')+' of '+rows.length.toLocaleString('en')+' rows';
 more.hidden=rows.length<=shown;
 heads.forEach(function(h){h.dataset.key===key?h.setAttribute('aria-sort',up?'ascending':'descending'):h.removeAttribute('aria-sort')});
}
heads.forEach(function(h){h.onclick=function(){if(key===h.dataset.key)up=!up;else{key=h.dataset.key;up=key!=='pnl'}draw()};
 h.onkeydown=function(e){if(e.key==='Enter')h.onclick()}});
[show,cause].forEach(function(s){s.onchange=function(){shown=50;draw()}});
find.oninput=function(){shown=50;draw()};more.onclick=function(){shown+=200;draw()};
if(!data.rows.some(function(r){return r.n}))show.value='all';
draw();
})();
